"""Reading a store: what was applied, what was seen, what was run."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

from reconciler.fleet import (
    NOTHING_APPLIED,
    AllocatedAgent,
    Applied,
    AppliedReplica,
    EngineId,
    FleetFacts,
    Frame,
    ReplicaChange,
    StateError,
    Ticket,
    Tickets,
)
from reconciler.state.lease import Lease
from reconciler.state.protocol import JournalRow, RunRecord, StepStatus
from reconciler.state.renames import Rename, address_now, names_now
from reconciler.state.sql.columns import read_number, read_word
from reconciler.state.sql.connection import Connection
from reconciler.state.sql.frames import read_frames, read_keys
from reconciler.state.sql.renames import read_renames
from reconciler.state.sql.row_errors import decoding
from reconciler.state.sql.rows import (
    read_allocated,
    read_applied,
    read_applied_at,
    read_changes_since,
    read_facts,
    read_meta,
    read_tickets,
)
from reconciler.state.sql.tags import read_tags

_RUN_COLUMNS = (
    "id, serial, plan_digest, config_digest, who, host, command, started_at, finished_at, result, ci, seconds, unplaced, deferred"
)
_OF_PLANS = "(plan_digest <> '' OR EXISTS (SELECT 1 FROM journal WHERE run_id = runs.id))"
"""Of agents that come and go over HTTP the history has a row each, many more than of plans."""
_RUNS_LOOKED_THROUGH = 100
_MODELS = "model."
"""How addresses of replicas begin: what reads a file again is a reload too, and loads nothing."""
_JOURNAL_COLUMNS = "run_id, step_id, address, action, status, reason, started_at, finished_at, seconds"


class SqlReader(ABC):
    """A StateReader over a database. `where` is what people call it: its path, or its URL without a password."""

    def __init__(self, where: str) -> None:
        self._where = where

    @abstractmethod
    def _reading(self) -> AbstractContextManager[Connection | None]:
        """One snapshot: all that is read inside the block is of one moment. None where nothing was applied yet."""

    def frames(self, spans: Collection[int], since: int = 0) -> Iterator[Frame]:
        """History of facts, the oldest first: frames of these spans that end at `since` (seconds since 1970) or later."""
        with self._reading() as conn:
            keys = read_keys(conn, spans, since) if conn is not None else []
        for key in keys:  # each in a moment of its own: all of them may be a month
            with self._reading() as conn:
                yield from list(read_frames(conn, [key])) if conn is not None else ()

    @abstractmethod
    def lease(self) -> Lease | None:
        """Who is writing now, as far as the store tells."""

    @abstractmethod
    def close(self) -> None: ...

    def reading(self) -> AbstractContextManager[Connection | None]:
        """All tables as of one moment, for what copies them whole."""
        return self._reading()

    def applied(self) -> Applied:
        with self._reading() as conn:
            return read_applied(conn) if conn is not None else NOTHING_APPLIED

    def applied_at(self, serial: int) -> Mapping[str, AppliedReplica]:
        """What was owned right after the run that came to `serial`, by address, as it was asked and with the context that it ran with.

        Raises StateError for a serial that is yet to come, or older than what is kept.
        """
        with self._reading() as conn:
            meta = read_meta(conn) if conn is not None else {}
            now, since = (read_number(key, meta.get(key, "0")) for key in ("serial", "changes_since"))
            if conn is None or not since <= serial <= now:
                known = f"it knows serials {since} to {now}" if conn is not None else "nothing was applied yet"
                raise StateError.of(f"the state knows no serial {serial}", self._where, f"{known}; see gpurec history")
            return read_applied_at(conn, serial)

    def changed_since(self, serial: int, addresses: Iterable[str]) -> Sequence[ReplicaChange]:
        with self._reading() as conn:
            return tuple(read_changes_since(conn, serial, addresses)) if conn is not None else ()

    def recorded_facts(self) -> FleetFacts | None:
        with self._reading() as conn:
            return read_facts(conn) if conn is not None else None

    def runs(self, last: int = 20, *, of_plans: bool = False) -> Sequence[RunRecord]:
        with self._reading() as conn:
            if conn is None:
                return ()
            asked = f"WHERE {_OF_PLANS} " if of_plans else ""
            rows = conn.execute(f"SELECT {_RUN_COLUMNS} FROM runs {asked}ORDER BY id DESC LIMIT ?", (last,))  # noqa: S608
            return tuple(_run(conn, row) for row in rows.fetchall())

    def run(self, run_id: int) -> RunRecord | None:
        with self._reading() as conn:
            if conn is None:
                return None
            row = conn.execute(f"SELECT {_RUN_COLUMNS} FROM runs WHERE id = ?", (run_id,)).fetchone()  # noqa: S608
            return _run(conn, row) if row is not None else None

    def journal(self, run_id: int) -> Sequence[JournalRow]:
        """What happened to the steps of a run, in the order in which they were first written."""
        with self._reading() as conn:
            if conn is None:
                return ()
            rows = conn.execute(f"SELECT {_JOURNAL_COLUMNS} FROM journal WHERE run_id = ? ORDER BY rowid", (run_id,))  # noqa: S608
            return tuple(map(_step, rows))

    def tags(self) -> Mapping[EngineId, Mapping[str, str]]:
        """The derived tags that gpurec made or used on each engine, each with the name that it was made from."""
        with self._reading() as conn:
            return read_tags(conn) if conn is not None else {}

    def allocated(self) -> Sequence[AllocatedAgent]:
        with self._reading() as conn:
            return read_allocated(conn) if conn is not None else ()

    def tickets(self, waiting: Sequence[Ticket] = ()) -> Tickets:
        with self._reading() as conn:
            if conn is not None:
                return read_tickets(conn, waiting)
        return Tickets.of(waiting)

    def failed_loads(self) -> Mapping[str, JournalRow]:
        with self._reading() as conn:
            if conn is None:
                return {}
            found = conn.execute(
                f"SELECT {_JOURNAL_COLUMNS} FROM journal WHERE run_id IN "  # noqa: S608
                f"(SELECT id FROM runs WHERE {_OF_PLANS} ORDER BY id DESC LIMIT ?) "
                "AND action IN ('load', 'reload') AND status IN ('done', 'satisfied', 'failed') ORDER BY run_id, rowid",
                (_RUNS_LOOKED_THROUGH,),
            ).fetchall()
            rows = [row for row in map(_step, found) if row.address.startswith(_MODELS)]
            renames = read_renames(conn)
        last: dict[str, JournalRow] = {}
        for row in rows:
            now = address_now(row.address, names_now(one for one in renames if one.run_id > row.run_id)) if renames else row.address
            last[now] = replace(row, address=now)
        return {address: row for address, row in last.items() if row.status is StepStatus.FAILED}

    def renames(self) -> Sequence[Rename]:
        """Nodes that were renamed, oldest first."""
        with self._reading() as conn:
            return read_renames(conn) if conn is not None else ()


def _step(row: tuple[Any, ...]) -> JournalRow:
    run, step, address, action, status, reason, started, finished, seconds = row
    with decoding("journal", str(step)):
        return JournalRow(run, step, address, action, read_word("status", StepStatus, status), reason, started, finished, seconds)


def _run(conn: Connection, row: tuple[Any, ...]) -> RunRecord:
    steps = conn.execute("SELECT status, count(*) FROM journal WHERE run_id = ? GROUP BY status ORDER BY status", (row[0],))
    return replace(RunRecord(*row), steps=dict(steps.fetchall()))
