"""Writing a store: every write is one transaction that first proves the lease, and ends on the disk."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from contextlib import AbstractContextManager, suppress
from datetime import UTC, datetime
from functools import wraps
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar
from uuid import uuid4

from reconciler.fleet import AppliedReplica, AppliedResource, CardId, EngineId, FleetFacts, Heat, Incident, StateError, headers_of
from reconciler.state.lease import OwnLease, iso, without_passwords
from reconciler.state.node_rename import NodeMove
from reconciler.state.process import this_process
from reconciler.state.protocol import Learned, Measurement, SettledStep, StepStatus
from reconciler.state.sql.connection import Connection, Damaged, Replaced, TransactionLost, Unwritable, put
from reconciler.state.sql.entries import (
    Befell,
    Entry,
    MeasuredEntry,
    NeedsLearned,
    Recorded,
    ResourcesRecorded,
    RunFinishedEntry,
    StepFinished,
    StepsSettled,
    write_entry,
)
from reconciler.state.sql.fleet_name import read_fleet, refuse_other_fleet, write_fleet, write_inventory
from reconciler.state.sql.node_rename import forget_incidents, write_move
from reconciler.state.sql.reader import SqlReader
from reconciler.state.sql.rescue import Rescued, RescueHead, RescueJournal, RescuePlace, find_rescues, waiting_sentence
from reconciler.state.sql.rows import REPLICA_COLUMNS, fields_text, header_body, node_body, read_meta, replica_row
from reconciler.state.sql.tags import delete_tags, forget_tags_of, write_tags
from reconciler.state.sql.waiting_tickets import refuse_tickets

_LOOKED_UP_ONE_BY_ONE = 500
_TRIES = 3
"""How often a transaction is begun whose connection breaks before its end."""

Writer = TypeVar("Writer", bound="SqlWriter")
Given = ParamSpec("Given")
Done = TypeVar("Done")


def retried(write: Callable[Concatenate[Writer, Given], Done]) -> Callable[Concatenate[Writer, Given], Done]:
    """A write that is begun again where its connection broke before its end."""

    @wraps(write)
    def again(self: Writer, /, *args: Given.args, **options: Given.kwargs) -> Done:
        for _ in range(_TRIES - 1):
            with suppress(TransactionLost):
                return write(self, *args, **options)
        return write(self, *args, **options)

    return again


class SqlWriter(SqlReader):
    """A StateWriter over a database, for as long as its lease holds."""

    def _start(self, held: OwnLease, clock: Callable[[], datetime], rescues: RescuePlace, *, fleet: str | None, new: bool) -> None:
        self._fleet, self._new = fleet, new
        self._held, self._clock, self._rescues = held, clock, rescues
        self._next_serial: int | None = None
        self._began: dict[str | None, datetime] = {}
        self._run: tuple[int, str | None, int] = (0, None, 0)
        self._last_serial = 0
        self._rescue: RescueJournal | None = None
        self._rescued: set[str] = set()

    @abstractmethod
    def _transaction(self) -> AbstractContextManager[Connection]:
        """One transaction that writes, and has proved the lease before anything else. Raises TransactionLost where nothing of it was
        written because its connection broke."""

    @abstractmethod
    def _still_ours(self, conn: Connection) -> bool:
        """Whether the lease carries our owner and token. Raises Replaced where the store is another one by now."""

    def _writing(self) -> AbstractContextManager[Connection]:
        if self._rescue is not None:
            raise Unwritable.of("the state could not be written earlier in this run, so nothing new is begun", self._where)
        return self._transaction()

    def writing(self) -> AbstractContextManager[Connection]:
        """All tables in one transaction, for what fills them whole."""
        return self._writing()

    @property
    def took_over(self) -> str | None:
        return self._held.took_over

    @property
    def warnings(self) -> tuple[str, ...]:
        return tuple(waiting_sentence(path) for path in find_rescues(self._rescues))

    @property
    def notices(self) -> tuple[str, ...]:
        if self._fleet is None:
            return ()
        if self._new:
            return (f"set up a new state for the fleet {self._fleet}: {self._where}",)
        with self._reading() as conn:
            assert conn is not None
            unnamed = read_fleet(conn) is None
        return (f"this state did not say whose it is; from now on it is that of the fleet {self._fleet}: {self._where}",) if unnamed else ()

    def close(self) -> None:
        """Does nothing: the block that opened the writer closes it, after it has given the lease back."""

    @retried
    def prove_held(self) -> None:
        with self._reading() as conn:
            assert conn is not None
            self._prove(conn)

    def _prove(self, conn: Connection) -> None:
        """Raises Replaced where the store is another one by now, and StateError where it is no longer ours to write."""
        ours, lineage = self._still_ours(conn), self._run[1]
        if lineage is not None and read_meta(conn).get("lineage") != lineage:
            raise Replaced.of("the state was overwritten with another one while this run worked", self._where, "put the state back")
        if not ours:
            raise StateError.of(
                "the lock of this run was taken over by another, so nothing more is written",
                self._where,
                "run plan: it finds out by probing what was done",
            )

    @retried
    def begin_run(self, plan_digest: str, config_digest: str, command: str, inventory: str | None = None) -> int:
        """Starts a run and returns its id; the first one ever gives the state its lineage. Runs that died are marked `interrupted`."""
        me = this_process()
        with self._writing() as conn:
            now = iso(self._clock())
            refuse_other_fleet(conn, self._where, self._fleet)
            conn.execute("INSERT INTO meta (key, value) VALUES ('lineage', ?) ON CONFLICT DO NOTHING", (str(uuid4()),))
            if self._fleet is not None:
                write_fleet(conn, self._fleet)
                write_inventory(conn, inventory)
            serial = _serial(conn)
            conn.execute("UPDATE journal SET status = ?, finished_at = ? WHERE status = 'started'", (StepStatus.INTERRUPTED, now))
            conn.execute("UPDATE runs SET result = 'interrupted', finished_at = ? WHERE result = 'running'", (now,))
            row = (serial, plan_digest, config_digest, me.who, me.host, without_passwords(command), now, me.ci)
            ((run_id,),) = conn.execute(
                "INSERT INTO runs (serial, plan_digest, config_digest, who, host, command, started_at, ci, result) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?, 'running') RETURNING id",
                row,
            ).fetchall()
            lineage = read_meta(conn).get("lineage")
        self._next_serial = None
        self._began = {None: self._clock()}
        self._run, self._last_serial = (int(run_id), lineage, serial), serial
        return int(run_id)

    @retried
    def step_started(self, run_id: int, step_id: str, address: str, action: str) -> None:
        self._began[step_id] = self._clock()
        with self._writing() as conn:
            conn.execute(
                "INSERT INTO journal (run_id, step_id, address, action, status, started_at) VALUES (?, ?, ?, ?, ?, ?) "
                "ON CONFLICT (run_id, step_id) DO UPDATE SET status = excluded.status, finished_at = NULL, seconds = NULL",
                (run_id, step_id, address, action, StepStatus.STARTED, iso(self._clock())),
            )

    def step_finished(self, run_id: int, step_id: str, status: StepStatus, reason: str | None = None) -> None:
        """Raises StateError when the step was never started."""
        now = self._clock()
        self._keep(StepFinished(run_id, step_id, status, reason, iso(now), self._seconds_since(step_id, now)))

    def steps_settled(self, run_id: int, steps: Iterable[SettledStep]) -> None:
        settled = tuple(steps)
        if settled:
            self._keep(StepsSettled(run_id, settled, iso(self._clock())))

    def record(self, replicas: Iterable[AppliedReplica], gone: Iterable[str] = ()) -> None:
        """Upserts what is owned and forgets the addresses `gone`; unchanged rows are not written, and then the serial stays."""
        rows, leaving = tuple(replicas), tuple(gone)
        with suppress(Unwritable):  # where not even that can be read, all of it is kept
            changed = {one.address for one in self._changed(rows)} | self._rescued
            rows = tuple(one for one in rows if one.address in changed)
            leaving = tuple(address for address in leaving if address in self._rescued or self._owns(address))
        if rows or leaving:
            self._keep(Recorded(rows, leaving))

    def record_resources(self, resources: Iterable[AppliedResource], gone: Iterable[str] = ()) -> None:
        """The same for other kinds of resources."""
        rows, leaving = tuple(resources), tuple(gone)
        with suppress(Unwritable):
            known = self._kept((*(one.address for one in rows), *leaving))
            rows = tuple(
                one for one in rows if one.address in self._rescued or known.get(one.address) != (fields_text(one.fields), one.written)
            )
            leaving = tuple(address for address in leaving if address in self._rescued or address in known)
        if rows or leaving:
            self._keep(ResourcesRecorded(rows, leaving))

    @retried
    def forget(self, addresses: Iterable[str]) -> None:
        applied, every = self.applied(), tuple(addresses)
        owned, gone = applied.replicas, tuple(address for address in every if address not in applied.resources)
        with self._writing() as conn:
            forget_tags_of(conn, [owned[address] for address in gone if address in owned])
            write_entry(conn, Recorded((), gone), lambda: self._move_serial(conn))
            resources = tuple(address for address in every if address in applied.resources)
            write_entry(conn, ResourcesRecorded((), resources), lambda: self._move_serial(conn))
            forget_incidents(conn, gone)
            self._last_serial = _serial(conn)

    @retried
    def own_tag(self, at: EngineId, name: str, base: str) -> None:
        with self._writing() as conn:
            write_tags(conn, [(at, name, base)])

    def forget_tags(self, at: EngineId, names: Iterable[str]) -> None:
        with suppress(Unwritable), self._writing() as conn:  # one that is gone from the disk harms nobody
            delete_tags(conn, at, names)

    @retried
    def rename_fleet(self, old: str, new: str) -> None:
        refuse_tickets(self._rescues, "rename")
        with self._writing() as conn:
            refuse_other_fleet(conn, self._where, old)
            write_fleet(conn, new)

    @retried
    def rename_node(self, move: NodeMove) -> None:
        with self._writing() as conn:
            write_move(conn, move, self._run[0], lambda: self._move_serial(conn))
            self._last_serial = _serial(conn)

    def measure(self, measurements: Iterable[Measurement]) -> None:
        """Keeps the latest load time of each kind."""
        figures = tuple(measurements)
        if figures:
            self._keep(MeasuredEntry(figures))

    def record_heat(self, levels: Mapping[tuple[str, CardId], Heat]) -> None:
        if self._rescue is not None or not levels:
            return
        with suppress(Unwritable), self._writing() as conn:  # it is found again at the next look
            known = {(node, gpu): level for node, gpu, level in conn.execute("SELECT node, gpu, level FROM heat")}
            rows = []
            for (node, card), level in levels.items():
                gpu = json.dumps(card)
                if level is Heat.NORMAL and (node, gpu) in known:
                    conn.execute("DELETE FROM heat WHERE node = ? AND gpu = ?", (node, gpu))
                elif level is not Heat.NORMAL and known.get((node, gpu)) != level:
                    rows.append((node, gpu, int(level)))
            put(conn, "heat", ("node", "gpu", "level"), ("node", "gpu"), rows)

    def record_incident(self, address: str, code: str, asked: str, *, at: str | None = None, evictor: str | None = None) -> None:
        now = self._clock().astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")  # two may befall it in a second
        self._keep(Befell(Incident(address, code, at or now, asked, evictor)))

    def learn(self, needs: Iterable[Learned]) -> None:
        """Keeps the latest need of each kind; cards that were not seen leave what was known of them."""
        figures = tuple(needs)
        if figures:
            self._keep(NeedsLearned(figures))

    def record_facts(self, facts: FleetFacts) -> None:
        """Keeps the facts, one row a node: a node that looks as before is not written. They are no part of a rescue: probing finds them."""
        if self._rescue is not None:
            return
        try:
            self._write_facts(facts)
        except Unwritable as error:
            self._begin_rescue(error)

    @retried
    def _write_facts(self, facts: FleetFacts) -> None:
        bodies = {name: node_body(node) for name, node in facts.nodes.items()}
        with self._writing() as conn:
            known = dict(conn.execute("SELECT node, body FROM facts"))
            conn.executemany("DELETE FROM facts WHERE node = ?", [(name,) for name in known.keys() - bodies.keys()])
            rows = [(name, body) for name, body in bodies.items() if known.get(name) != body]
            put(conn, "facts", ("node", "body"), ("node",), rows)
            headers = headers_of(facts.nodes.values())
            kept = {key for (key,) in conn.execute("SELECT key FROM headers")}
            conn.executemany("DELETE FROM headers WHERE key = ?", [(key,) for key in kept - headers.keys()])
            new = [(key, header_body(headers[key])) for key in headers.keys() - kept]
            put(conn, "headers", ("key", "body"), ("key",), new)
            _write_silent(conn, facts)
            put(conn, "meta", ("key", "value"), ("key",), [("facts_at", facts.at)])

    def finish_run(self, run_id: int, result: str, *, unplaced: int = 0, deferred: int = 0) -> int:
        """`done` with something left without a place is kept as `partial`."""
        now = self._clock()
        word = "partial" if result == "done" and unplaced else result
        self._keep(RunFinishedEntry(run_id, word, iso(now), self._seconds_since(None, now), unplaced, deferred))
        return self._last_serial

    @retried
    def read_in(self, rescued: Rescued) -> int:
        """Writes what a rescue journal holds, in one transaction; returns the serial. Doing it twice changes nothing more.

        What a later run recorded of an address stands: that run probed. Raises StateError for the journal of another state.
        """
        head, where = rescued.head, str(rescued.path)
        with self._writing() as conn:
            if head.lineage != read_meta(conn).get("lineage"):
                raise StateError.of("the rescue journal is of another state: its lineage differs", where, "name that state with --state")
            if conn.execute("SELECT 1 FROM runs WHERE id = ?", (head.run_id,)).fetchone() is None:
                raise StateError.of(f"the state knows nothing of run {head.run_id}, which the rescue journal is of", where)
            later = {str(one) for (one,) in conn.execute("SELECT address FROM replicas WHERE serial > ?", (head.serial + 1,))}
            for entry in rescued.entries:
                if isinstance(entry, Recorded):
                    entry = self._but_not(conn, entry, later)
                elif isinstance(entry, ResourcesRecorded):
                    entry = _not_recorded_since(conn, entry, head.serial + 1)
                elif not isinstance(entry, MeasuredEntry | NeedsLearned | Befell) and entry.run_id != head.run_id:
                    raise StateError.of(f"the rescue journal of run {head.run_id} speaks of run {entry.run_id}", where)
                write_entry(conn, entry, lambda: self._move_serial(conn))
            self._last_serial = _serial(conn)
            return self._last_serial

    def _but_not(self, conn: Connection, entry: Recorded, later: Set[str]) -> Recorded:
        """The part of an entry that is not of the addresses `later`, and not there already."""

        def there(replica: AppliedReplica) -> bool:
            row = conn.execute(f"SELECT {REPLICA_COLUMNS} FROM replicas WHERE address = ?", (replica.address,)).fetchone()  # noqa: S608
            return row is not None and row[:-1] == replica_row(replica, 0)[:-1]

        rows = tuple(one for one in entry.replicas if one.address not in later and not there(one))
        gone = tuple(address for address in entry.gone if address not in later and self._has(conn, address))
        return Recorded(rows, gone)

    @property
    def rescue(self) -> Path | None:
        """The rescue journal that this run had to begin; None where everything is in the state."""
        return self._rescue.path if self._rescue is not None else None

    @property
    def takes_no_more(self) -> bool:
        return self._rescue is not None

    @property
    def unwritable(self) -> str:
        """Why the state took no more, as a clause; empty while it does."""
        return self._rescue.why if self._rescue is not None else ""

    def _keep(self, entry: Entry) -> None:
        """Writes what has happened, and where the state takes it no more, keeps it and all that follows in a rescue journal."""
        if self._rescue is None:
            try:
                self._write(entry)
            except (Unwritable, Damaged) as error:
                self._begin_rescue(error)
            else:
                return
        assert self._rescue is not None
        self._rescue.append(entry)
        if isinstance(entry, Recorded):  # of these the database no longer tells what they are
            self._rescued |= {one.address for one in entry.replicas} | set(entry.gone)
        elif isinstance(entry, ResourcesRecorded):
            self._rescued |= {one.address for one in entry.resources} | set(entry.gone)

    @retried
    def _write(self, entry: Entry) -> None:
        with self._writing() as conn:
            write_entry(conn, entry, lambda: self._move_serial(conn))
            self._last_serial = _serial(conn)
            if isinstance(entry, RunFinishedEntry):
                conn.execute("UPDATE runs SET serial = ? WHERE id = ?", (self._last_serial, entry.run_id))

    def _begin_rescue(self, why: Unwritable | Damaged) -> None:
        run_id, lineage, serial = self._run
        head = RescueHead(self._rescues.state, lineage, run_id, serial, iso(self._clock()), why.problems[0].what)
        self._rescue = RescueJournal(head, self._rescues.folders)

    def _seconds_since(self, step_id: str | None, now: datetime) -> float | None:
        """How long a step, or (None) the run, has taken up to `now`; None when it was not begun by this writer."""
        began = self._began.get(step_id)
        return None if began is None else round(max(0.0, (now - began).total_seconds()), 3)

    def _changed(self, replicas: Sequence[AppliedReplica]) -> tuple[AppliedReplica, ...]:
        """Those that are not in the store just so. Of few each is looked up; of many the whole table is read once."""
        with self._reading() as conn:
            assert conn is not None
            table = f"SELECT {REPLICA_COLUMNS} FROM replicas"  # noqa: S608
            if len(replicas) <= _LOOKED_UP_ONE_BY_ONE:
                one = f"{table} WHERE address = ?"
                rows = [conn.execute(one, (replica.address,)).fetchone() for replica in replicas]
            else:
                there = {row[0]: row for row in conn.execute(table)}
                rows = [there.get(replica.address) for replica in replicas]
        return tuple(
            replica for replica, row in zip(replicas, rows, strict=True) if row is None or row[:-1] != replica_row(replica, 0)[:-1]
        )

    def _kept(self, addresses: Iterable[str]) -> Mapping[str, tuple[str, str | None]]:
        """Fields and written text of other kinds of resources, as they are in the store. Each is looked up: all of them are the texts of
        every file."""
        with self._reading() as conn:
            assert conn is not None
            one = "SELECT address, fields, written FROM resources WHERE address = ?"
            found = [conn.execute(one, (address,)).fetchone() for address in addresses]
        return {row[0]: (row[1], row[2]) for row in found if row is not None}

    def _owns(self, address: str) -> bool:
        with self._reading() as conn:
            assert conn is not None
            return self._has(conn, address)

    @staticmethod
    def _has(conn: Connection, address: str) -> bool:
        return conn.execute("SELECT 1 FROM replicas WHERE address = ?", (address,)).fetchone() is not None

    def _move_serial(self, conn: Connection) -> int:
        """The serial of this run's records: one more than before the run. Moved with the first of them, so that a crash loses nothing."""
        if self._next_serial is None:
            self._next_serial = _serial(conn) + 1
        put(conn, "meta", ("key", "value"), ("key",), [("serial", str(self._next_serial))])
        return self._next_serial


def _write_silent(conn: Connection, facts: FleetFacts) -> None:
    """Since when engines cannot be reached: only what changed is written."""
    now = {(one.id.node, one.id.engine) for node in facts.nodes.values() for one in node.engines.values() if not one.reachable}
    known = {(node, engine) for node, engine in conn.execute("SELECT node, engine FROM silent")}
    conn.executemany("DELETE FROM silent WHERE node = ? AND engine = ?", sorted(known - now))
    put(conn, "silent", ("node", "engine", "since"), ("node", "engine"), [(*one, facts.at) for one in sorted(now - known)])


def _serial(conn: Connection) -> int:
    return int(read_meta(conn).get("serial", "0"))


def _not_recorded_since(conn: Connection, entry: ResourcesRecorded, serial: int) -> ResourcesRecorded:
    later = {str(one) for (one,) in conn.execute("SELECT address FROM resources WHERE serial > ?", (serial,))}
    kept = tuple(one for one in entry.resources if one.address not in later)
    return ResourcesRecorded(kept, tuple(address for address in entry.gone if address not in later))
