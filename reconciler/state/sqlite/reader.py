"""Reading a store: what was applied, what was seen, what was run. Never writes, so it needs no lease."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from reconciler.fleet import NOTHING_APPLIED, Applied, AppliedReplica, EngineId, FleetFacts, Frame, ReplicaChange, StateError
from reconciler.state.lease import Lease
from reconciler.state.protocol import JournalRow, RunRecord, StateReader, StepStatus
from reconciler.state.renames import Rename, address_now, names_now
from reconciler.state.sqlite.connection import followed, open_for_reading, sqlite_said
from reconciler.state.sqlite.frames import read_frames, read_keys
from reconciler.state.sqlite.lease import read_lease
from reconciler.state.sqlite.renames import read_renames
from reconciler.state.sqlite.rows import read_applied, read_applied_at, read_changes_since, read_facts, read_meta
from reconciler.state.sqlite.schema import SCHEMA_VERSION, migrate, schema_version
from reconciler.state.sqlite.tags import read_tags

_RUN_COLUMNS = (
    "id, serial, plan_digest, config_digest, who, host, command, started_at, finished_at, result, ci, seconds, unplaced, deferred"
)
_RUNS_LOOKED_THROUGH = 100
_JOURNAL_COLUMNS = "run_id, step_id, address, action, status, reason, started_at, finished_at, seconds"


class SqliteReader:
    """A StateReader over an SQLite file; `conn` None is the store that does not exist yet."""

    def __init__(self, path: Path, conn: sqlite3.Connection | None) -> None:
        self._path, self._conn = path, conn

    def applied(self) -> Applied:
        with self._reading() as conn:
            return read_applied(conn) if conn is not None else NOTHING_APPLIED

    def applied_at(self, serial: int) -> Mapping[str, AppliedReplica]:
        """What was owned right after the run that came to `serial`, by address, as it was asked and with the context that it ran with.

        Raises StateError for a serial that is yet to come, or older than what is kept.
        """
        with self._reading() as conn:
            meta = read_meta(conn) if conn is not None else {}
            now, since = int(meta.get("serial", "0")), int(meta.get("changes_since", "0"))
            if conn is None or not since <= serial <= now:
                known = f"it knows serials {since} to {now}" if conn is not None else "nothing was applied yet"
                raise StateError.of(f"the state knows no serial {serial}", str(self._path), f"{known}; see gpurec history")
            return read_applied_at(conn, serial)

    def changed_since(self, serial: int, addresses: Iterable[str]) -> Sequence[ReplicaChange]:
        with self._reading() as conn:
            return tuple(read_changes_since(conn, serial, addresses)) if conn is not None else ()

    def recorded_facts(self) -> FleetFacts | None:
        with self._reading() as conn:
            return read_facts(conn) if conn is not None else None

    def runs(self, last: int = 20) -> Sequence[RunRecord]:
        """The latest runs, newest first."""
        with self._reading() as conn:
            if conn is None:
                return ()
            rows = conn.execute(f"SELECT {_RUN_COLUMNS} FROM runs ORDER BY id DESC LIMIT ?", (last,))  # noqa: S608
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
            return tuple(
                JournalRow(run, step, address, action, StepStatus(status), reason, started, finished, seconds)
                for run, step, address, action, status, reason, started, finished, seconds in rows
            )

    def tags(self) -> Mapping[EngineId, Mapping[str, str]]:
        """The derived tags that gpurec made or used on each engine, each with the name that it was made from."""
        with self._reading() as conn:
            return read_tags(conn) if conn is not None else {}

    def failed_loads(self) -> Mapping[str, JournalRow]:
        with self._reading() as conn:
            if conn is None:
                return {}
            rows = conn.execute(
                f"SELECT {_JOURNAL_COLUMNS} FROM journal WHERE run_id > (SELECT max(id) FROM runs) - ? "  # noqa: S608
                "AND action IN ('load', 'reload') AND status IN ('done', 'satisfied', 'failed') ORDER BY run_id, rowid",
                (_RUNS_LOOKED_THROUGH,),
            ).fetchall()
            renames = read_renames(conn)
        last: dict[str, JournalRow] = {}
        for run, step, address, action, status, reason, started, finished, seconds in rows:
            now = address_now(address, names_now(one for one in renames if one.run_id > run)) if renames else address
            last[now] = JournalRow(run, step, now, action, StepStatus(status), reason, started, finished, seconds)
        return {address: row for address, row in last.items() if row.status is StepStatus.FAILED}

    def renames(self) -> Sequence[Rename]:
        """Nodes that were renamed, oldest first."""
        with self._reading() as conn:
            return read_renames(conn) if conn is not None else ()

    def frames(self, spans: Collection[int], since: int = 0) -> Iterator[Frame]:
        """History of facts, the oldest first: frames of these spans that end at `since` (seconds since 1970) or later."""
        with self._reading() as conn:
            keys = read_keys(conn, spans, since) if conn is not None else []
        for key in keys:  # each in a moment of its own: all of them may be a month
            with self._reading() as conn:
                yield from list(read_frames(conn, [key])) if conn is not None else ()

    def lease(self) -> Lease | None:
        """Who is writing now, as far as the store tells."""
        with self._reading() as conn:
            return read_lease(conn) if conn is not None else None

    def close(self) -> None:
        if self._conn is not None:
            self._conn.close()
            self._conn = None

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection | None]:
        """One snapshot: all that is read inside the block is of one moment."""
        if self._conn is None:
            yield None
            return
        with sqlite_said(self._path):
            self._conn.execute("BEGIN")
            try:
                yield self._conn
            finally:
                self._conn.execute("ROLLBACK")


def _run(conn: sqlite3.Connection, row: tuple[Any, ...]) -> RunRecord:
    steps = conn.execute("SELECT status, count(*) FROM journal WHERE run_id = ? GROUP BY status ORDER BY status", (row[0],))
    return replace(RunRecord(*row), steps=dict(steps.fetchall()))


def open_reader(path: Path) -> StateReader:
    """Opens a store for reading. A file that does not exist, or holds nothing yet, reads as empty.

    Raises StateError when it is no state, is damaged, or was written by a newer gpurec.
    """
    path = followed(path)
    if not path.exists():
        return SqliteReader(path, None)
    conn = open_for_reading(path)
    try:
        with sqlite_said(path):
            version = schema_version(conn, path)
    except BaseException:
        conn.close()
        raise
    if version == 0:
        conn.close()
        return SqliteReader(path, None)
    if version < SCHEMA_VERSION:
        with closing(conn):
            return SqliteReader(path, migrated_copy(conn, path))
    return SqliteReader(path, conn)


def migrated_copy(conn: sqlite3.Connection, path: Path) -> sqlite3.Connection:
    """A store of an older schema as this program knows it, in memory: readers change no file, the next writer does."""
    copy = sqlite3.connect(":memory:", isolation_level=None)
    try:
        with sqlite_said(path):
            conn.backup(copy)
            migrate(copy, path, "")
    except BaseException:
        copy.close()
        raise
    return copy
