"""Writing a store: every write is one immediate transaction that first proves the lease, and ends on the disk."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

from reconciler.fleet import AppliedReplica, FleetFacts, LockHeld, StateError
from reconciler.state.connection import open_for_writing, sqlite_said
from reconciler.state.lease import Heartbeat, Held, iso, read_lease, refuse_if_held, release_lease, still_ours, take_lease, without_passwords
from reconciler.state.process import this_process
from reconciler.state.protocol import Measurement, SettledStep, StateWriter, StepStatus
from reconciler.state.reader import SqliteReader
from reconciler.state.rows import REPLICA_COLUMNS, node_body, read_meta, replica_row
from reconciler.state.schema import SCHEMA_VERSION, migrate, schema_version

_RETRY_SECONDS = 0.5
_REPLICA_MARKS = ", ".join("?" * len(REPLICA_COLUMNS.split(",")))


def _now() -> datetime:
    return datetime.now(UTC)


class SqliteWriter(SqliteReader):
    """A StateWriter over an SQLite file, for as long as its lease holds."""

    def __init__(self, path: Path, conn: sqlite3.Connection, held: Held, clock: Callable[[], datetime]) -> None:
        super().__init__(path, conn)
        self._held, self._clock = held, clock
        self._next_serial: int | None = None
        self._began: dict[str | None, datetime] = {}

    @property
    def took_over(self) -> str | None:
        return self._held.took_over

    def close(self) -> None:
        """Does nothing: the block that opened the writer closes it, after it has given the lease back."""

    def begin_run(self, plan_digest: str, config_digest: str, command: str) -> int:
        """Starts a run and returns its id; the first one ever gives the state its lineage. Runs that died are marked `interrupted`."""
        me = this_process()
        with self._writing() as conn:
            now = iso(self._clock())
            conn.execute("INSERT OR IGNORE INTO meta VALUES ('lineage', ?)", (str(uuid4()),))
            serial = _serial(conn)
            conn.execute("UPDATE journal SET status = ?, finished_at = ? WHERE status = 'started'", (StepStatus.INTERRUPTED, now))
            conn.execute("UPDATE runs SET result = 'interrupted', finished_at = ? WHERE result = 'running'", (now,))
            row = (serial, plan_digest, config_digest, me.who, me.host, without_passwords(command), now, me.ci)
            done = conn.execute(
                "INSERT INTO runs (serial, plan_digest, config_digest, who, host, command, started_at, ci, result) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?, 'running')",
                row,
            )
            assert done.lastrowid is not None
            self._next_serial = None
            self._began = {None: self._clock()}
            return done.lastrowid

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
        with self._writing() as conn:
            now = self._clock()
            done = conn.execute(
                "UPDATE journal SET status = ?, reason = ?, finished_at = ?, seconds = ? WHERE run_id = ? AND step_id = ?",
                (status, reason, iso(now), self._seconds_since(step_id, now), run_id, step_id),
            )
            if done.rowcount != 1:
                raise StateError.of(f"step {step_id!r} of run {run_id} was never started", str(self._path))

    def steps_settled(self, run_id: int, steps: Iterable[SettledStep]) -> None:
        now = iso(self._clock())
        rows = [(run_id, step.step_id, step.address, step.action, step.status, step.reason, now, now) for step in steps]
        if not rows:
            return
        with self._writing() as conn:
            conn.executemany(
                "INSERT INTO journal (run_id, step_id, address, action, status, reason, started_at, finished_at) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (run_id, step_id) DO UPDATE SET "
                "status = excluded.status, reason = excluded.reason, finished_at = excluded.finished_at",
                rows,
            )

    def record(self, replicas: Iterable[AppliedReplica], gone: Iterable[str] = ()) -> None:
        """Upserts what is owned and forgets the addresses `gone`; unchanged rows are not written, and then the serial stays."""
        changed, leaving = self._changed(replicas), [(address,) for address in gone if self._owns(address)]
        if not changed and not leaving:
            return
        with self._writing() as conn:
            serial = self._move_serial(conn)
            conn.executemany("DELETE FROM replicas WHERE address = ?", leaving)
            conn.executemany(
                f"INSERT OR REPLACE INTO replicas ({REPLICA_COLUMNS}) VALUES ({_REPLICA_MARKS})",  # noqa: S608
                [replica_row(replica, serial) for replica in changed],
            )

    def measure(self, measurements: Iterable[Measurement]) -> None:
        """Keeps the latest figure of each kind; None leaves what was known."""
        rows = [(one.key.kind.value, one.key.engine_name, one.key.context, one.vram_bytes, one.load_seconds) for one in measurements]
        if not rows:
            return
        with self._writing() as conn:
            before = conn.total_changes
            conn.executemany(
                "INSERT INTO measured (kind, engine_name, context, vram_bytes, load_seconds) VALUES (?, ?, ?, ?, ?) "
                "ON CONFLICT (kind, engine_name, ifnull(context, -1)) DO UPDATE SET "
                "vram_bytes = ifnull(excluded.vram_bytes, vram_bytes), load_seconds = ifnull(excluded.load_seconds, load_seconds) "
                "WHERE ifnull(excluded.vram_bytes, vram_bytes) IS NOT vram_bytes "
                "OR ifnull(excluded.load_seconds, load_seconds) IS NOT load_seconds",
                rows,
            )
            if conn.total_changes > before:
                self._move_serial(conn)

    def record_facts(self, facts: FleetFacts) -> None:
        """Keeps the facts, one row a node: a node that looks as before is not written."""
        bodies = {name: node_body(node) for name, node in facts.nodes.items()}
        with self._writing() as conn:
            known = dict(conn.execute("SELECT node, body FROM facts"))
            conn.executemany("DELETE FROM facts WHERE node = ?", [(name,) for name in known.keys() - bodies.keys()])
            rows = [(name, body) for name, body in bodies.items() if known.get(name) != body]
            conn.executemany("INSERT OR REPLACE INTO facts VALUES (?, ?)", rows)
            conn.execute("INSERT OR REPLACE INTO meta VALUES ('facts_at', ?)", (facts.at,))

    def finish_run(self, run_id: int, result: str, *, unplaced: int = 0, deferred: int = 0) -> int:
        if result == "done" and unplaced:
            result = "partial"
        with self._writing() as conn:
            serial, now = _serial(conn), self._clock()
            row = (result, iso(now), self._seconds_since(None, now), serial, unplaced, deferred, run_id)
            conn.execute("UPDATE runs SET result = ?, finished_at = ?, seconds = ?, serial = ?, unplaced = ?, deferred = ? WHERE id = ?", row)
            return serial

    def _seconds_since(self, step_id: str | None, now: datetime) -> float | None:
        """How long a step, or (None) the run, has taken up to `now`; None when it was not begun by this writer."""
        began = self._began.get(step_id)
        return None if began is None else round(max(0.0, (now - began).total_seconds()), 3)

    def _changed(self, replicas: Iterable[AppliedReplica]) -> list[AppliedReplica]:
        changed = []
        with self._reading() as conn:
            assert conn is not None
            one = f"SELECT {REPLICA_COLUMNS} FROM replicas WHERE address = ?"  # noqa: S608
            for replica in replicas:
                row = conn.execute(one, (replica.address,)).fetchone()
                if row is None or row[:-1] != replica_row(replica, 0)[:-1]:
                    changed.append(replica)
        return changed

    def _owns(self, address: str) -> bool:
        with self._reading() as conn:
            assert conn is not None
            return conn.execute("SELECT 1 FROM replicas WHERE address = ?", (address,)).fetchone() is not None

    def _move_serial(self, conn: sqlite3.Connection) -> int:
        """The serial of this run's records: one more than before the run. Moved with the first of them, so that a crash loses nothing."""
        if self._next_serial is None:
            self._next_serial = _serial(conn) + 1
        conn.execute("INSERT OR REPLACE INTO meta VALUES ('serial', ?)", (str(self._next_serial),))
        return self._next_serial

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        if self._conn is None:
            raise StateError.of("the state is closed", str(self._path))
        with sqlite_said(self._path):
            self._conn.execute("BEGIN IMMEDIATE")
            try:
                if not still_ours(self._conn, self._held):
                    raise StateError.of(
                        "the lock of this run was taken over by another, so nothing more is written",
                        str(self._path),
                        "run plan: it finds out by probing what was done",
                    )
                yield self._conn
                self._conn.execute("COMMIT")
            except BaseException:
                if self._conn.in_transaction:
                    self._conn.execute("ROLLBACK")
                raise


def _serial(conn: sqlite3.Connection) -> int:
    return int(read_meta(conn).get("serial", "0"))


@contextmanager
def open_writer(
    path: Path,
    *,
    command: str,
    clock: Callable[[], datetime] = _now,
    lock_timeout: float = 0,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[StateWriter]:
    """Takes the lease of a store, creating it where missing, and gives it back at the end of the block.

    `command` is told to whoever finds the state locked. Waits up to `lock_timeout` seconds for another run's lease, then raises LockHeld;
    raises StateError when the store cannot be written.
    """
    conn = open_for_writing(path)
    try:
        held = _wait_for_lease(conn, path, command, clock, lock_timeout, sleep)
        heartbeat = Heartbeat(path, held, clock)
        heartbeat.start()
        try:
            yield SqliteWriter(path, conn, held, clock)
        finally:
            heartbeat.stop()
            with sqlite_said(path):
                release_lease(conn, held)
    finally:
        conn.close()


def _wait_for_lease(
    conn: sqlite3.Connection, path: Path, command: str, clock: Callable[[], datetime], lock_timeout: float, sleep: Callable[[float], None]
) -> Held:
    waited = 0.0
    while True:
        try:
            with sqlite_said(path):
                _migrate_when_free(conn, path, clock())
                return take_lease(conn, path, command, clock())
        except LockHeld:
            if waited >= lock_timeout:
                raise
        pause = min(_RETRY_SECONDS, lock_timeout - waited)
        sleep(pause)
        waited += pause


def _migrate_when_free(conn: sqlite3.Connection, path: Path, now: datetime) -> None:
    """An older store is not changed under the feet of an older program that is writing to it."""
    if schema_version(conn, path) not in (0, SCHEMA_VERSION):
        refuse_if_held(read_lease(conn), path, now, this_process())
    migrate(conn, path, iso(now))
