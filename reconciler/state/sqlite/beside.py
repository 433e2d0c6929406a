"""What is written without the lease, since no run depends on it, and only while nobody has the lease: a connection that closes after a run
that died would fold that run's log away, and with it what tells whether the log was whole."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from reconciler.fleet import StateError
from reconciler.state.lease import iso, refuse_if_held
from reconciler.state.process import this_process
from reconciler.state.sql.connection import Connection
from reconciler.state.sql.fleet_name import read_fleet, refuse_other_fleet, write_fleet
from reconciler.state.sqlite.connection import followed, open_for_reading, open_for_writing, sqlite_said
from reconciler.state.sqlite.lease import read_lease
from reconciler.state.sqlite.schema import migrate, schema_version

Found = TypeVar("Found")


def write_beside(path: Path, write: Callable[[Connection], Found], fleet: str, new_folder: bool) -> tuple[Found, str | None]:
    """Does `write` in one transaction of a store, which is set up where missing; says so then.

    Raises LockHeld while a run has the lease: it is to be tried again when that is over. Raises StateError when the store cannot be
    written, is of another fleet, or has the lease of a run that died.
    """
    path, now = followed(path), datetime.now(UTC)
    if path.is_file() and path.stat().st_size:
        with closing(open_for_reading(path)) as conn, sqlite_said(path):
            if schema_version(conn, path):
                refuse_other_fleet(conn, str(path), fleet)
                if (lease := read_lease(conn)) is not None:
                    refuse_if_held(lease, path, now, this_process())
                    what = f"nothing is written while a run that died holds the lock: {lease.sentence()}"
                    raise StateError.of(what, str(path), "the next apply takes it over; gpurec lock release breaks it")
    with closing(open_for_writing(path, new_folder)) as conn, sqlite_said(path):
        conn.execute("PRAGMA wal_autocheckpoint = 0")  # a run may have begun since: the file itself is its writer's alone
        new = schema_version(conn, path) == 0
        migrate(conn, path, iso(now))
        conn.execute("BEGIN IMMEDIATE")
        try:
            if read_fleet(conn) is None and new:
                write_fleet(conn, fleet)
            found = write(conn)
            conn.execute("COMMIT")
        except BaseException:
            if conn.in_transaction:
                conn.execute("ROLLBACK")
            raise
    return found, f"set up a new state for the fleet {fleet}: {path}" if new else None
