"""The lease in its one row: taken under a rising token, proved, refreshed by a thread, given back or broken."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from reconciler.state.lease import COLUMNS, HEARTBEAT_SECONDS, Lease, OwnLease, iso, lease_of
from reconciler.state.not_as_written import NotAsWritten
from reconciler.state.process import Process, ProcessTable, this_process
from reconciler.state.sql.connection import Connection
from reconciler.state.sql.lease import Beating, claim
from reconciler.state.sqlite.connection import BUSY_SECONDS, existing
from reconciler.state.sqlite.own_file import OwnFile


def read_lease(conn: sqlite3.Connection) -> Lease | None:
    """Who holds the lease; None when nobody does. Reads the lease of an older schema too, with what that does not know as None."""
    there = {str(column[1]) for column in conn.execute("PRAGMA table_info(lease)")}
    columns = ", ".join(column if column in there else "NULL" for column in COLUMNS)
    row = conn.execute(f"SELECT {columns} FROM lease WHERE id = 1").fetchone()  # noqa: S608
    if row is None:
        raise NotAsWritten("the row of the lock is gone")
    return lease_of(row)


def take_lease(
    conn: sqlite3.Connection,
    path: Path,
    command: str,
    now: datetime,
    me: Process | None = None,
    table: ProcessTable | None = None,
    watched: Lease | None = None,
) -> OwnLease:
    """Takes the lease in one transaction. `me` and `table` stand for this process and the processes of this machine, `watched` is the lease
    of a holder that was found to be silent.

    Raises LockHeld when another run has it, or when the holder that was watched has been heard of since.
    """
    conn.execute("BEGIN IMMEDIATE")
    try:
        own = claim(conn, path, command, read_lease(conn), now, me or this_process(), table, watched)
        conn.execute("COMMIT")
    except BaseException:
        if conn.in_transaction:
            conn.execute("ROLLBACK")
        raise
    return own


def beat(conn: sqlite3.Connection, held: OwnLease, now: datetime) -> bool:
    """Says that the holder is alive; False when the lease is no longer its own."""
    done = conn.execute(
        "UPDATE lease SET heartbeat = ?, heartbeat_at = ? WHERE id = 1 AND owner = ? AND token = ?",
        (iso(now), now.timestamp(), held.owner, held.token),
    )
    return done.rowcount == 1


def still_ours(conn: Connection, held: OwnLease) -> bool:
    """Whether the lease's row carries our owner and token; to be asked inside the transaction that writes."""
    row = conn.execute("SELECT owner, token FROM lease WHERE id = 1").fetchone()
    return bool(row == (held.owner, held.token))


def was_taken_over(conn: Connection, held: OwnLease) -> bool:
    """Whether another run took this lease since: the token only ever rises, and a copy of an earlier day has a lower one."""
    row = conn.execute("SELECT token FROM lease WHERE id = 1").fetchone()
    return row is not None and isinstance(row[0], int) and row[0] > held.token


class Heartbeat(Beating):
    """Of a lease in a file, for as long as that is the file that it was taken in."""

    def __init__(self, path: Path, held: OwnLease, clock: Callable[[], datetime], every: float = HEARTBEAT_SECONDS) -> None:
        super().__init__(every)
        self._path, self._held, self._clock = path, held, clock
        self.own_file = OwnFile(path)
        self._conn: sqlite3.Connection | None = None

    def beat(self, conn: sqlite3.Connection) -> bool:
        """Writes one heartbeat; False when the lease is no longer ours."""
        return beat(conn, self._held, self._clock())

    def _goes_on(self) -> bool:
        try:
            if not self.own_file.is_there():
                self.own_file.set_aside()
                return False  # another file is there by now, which is none of ours
            if self._conn is None:
                self._conn = sqlite3.connect(existing(self._path), uri=True, timeout=BUSY_SECONDS, isolation_level=None)
                self._conn.execute("PRAGMA wal_autocheckpoint = 0")  # one connection checkpoints, the writer's
            return self.beat(self._conn)
        except sqlite3.Error:
            return True  # busy or out of disk

    def _end(self) -> None:
        if self._conn is not None:
            self._conn.close()
