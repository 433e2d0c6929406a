"""The lock as people ask about it: who holds it, and breaking it."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from reconciler.fleet import StateError
from reconciler.state.lease import Lock
from reconciler.state.process import Process, ProcessTable, this_process
from reconciler.state.sql.lease import break_lease
from reconciler.state.sqlite.connection import followed, open_for_writing, sqlite_said
from reconciler.state.sqlite.reader import open_reader
from reconciler.state.sqlite.schema import schema_version


def look_at_lock(path: Path, now: datetime | None = None, me: Process | None = None, table: ProcessTable | None = None) -> Lock | None:
    """Who holds the lock; None when nobody does, or there is no state. Writes nothing."""
    with closing(open_reader(path)) as state:
        lease = state.lease()
    if lease is None:
        return None
    return Lock(lease, lease.standing(me or this_process(), now or datetime.now(UTC), table))


def break_lock(path: Path, lock: Lock) -> None:
    """Takes exactly this lock away. Raises StateError when another run has it by now, or nobody."""
    path = followed(path)
    with closing(open_for_writing(path)) as conn, sqlite_said(path):
        conn.execute("PRAGMA wal_autocheckpoint = 0")  # the file itself is its writer's alone
        schema_version(conn, path)
        if not break_lease(conn, lock.lease.owner):
            raise StateError.of("the lock has changed hands since it was looked at", str(path), "see gpurec lock status")
