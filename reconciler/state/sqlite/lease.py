"""The lease in its one row: taken under a rising token, proved, refreshed by a thread, given back or broken."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from uuid import uuid4

from reconciler.state.lease import COLUMNS, HEARTBEAT_SECONDS, Lease, OwnLease, iso, lease_of, lease_row, lock_held, refuse_if_held
from reconciler.state.not_as_written import NotAsWritten
from reconciler.state.process import Process, ProcessTable, this_process
from reconciler.state.sql.connection import Connection
from reconciler.state.sqlite.connection import BUSY_SECONDS, existing
from reconciler.state.sqlite.own_file import OwnFile

_SET = ", ".join(f"{column} = ?" for column in COLUMNS)


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
    me = me or this_process()
    owner = str(uuid4())
    conn.execute("BEGIN IMMEDIATE")
    try:
        held = read_lease(conn)
        refuse_if_held(held, path, now, me, table)
        if held is not None and watched is not None and held.owner == watched.owner and held != watched:
            raise lock_held(held, path)
        took_over = held.taken_over(held.standing(me, now, table)) if held is not None else None
        row = lease_row(Lease(owner, me, command, iso(now), iso(now), now.timestamp()))
        conn.execute(f"UPDATE lease SET token = token + 1, {_SET} WHERE id = 1", row)  # noqa: S608
        (token,) = conn.execute("SELECT token FROM lease WHERE id = 1").fetchone()
        conn.execute("COMMIT")
    except BaseException:
        if conn.in_transaction:
            conn.execute("ROLLBACK")
        raise
    return OwnLease(owner, token, took_over)


def break_lease(conn: sqlite3.Connection, owner: str) -> bool:
    """Takes the lease from `owner` and gives it to nobody: the token rises, so that the holder can write nothing any more.

    False when somebody else, or nobody, has it by now.
    """
    return conn.execute("UPDATE lease SET token = token + 1, owner = NULL WHERE id = 1 AND owner = ?", (owner,)).rowcount == 1


def release_lease(conn: sqlite3.Connection, held: OwnLease) -> None:
    """Gives the lease back; does nothing when somebody else has it by now. The token stays, so that it only ever rises."""
    conn.execute("UPDATE lease SET owner = NULL WHERE id = 1 AND owner = ? AND token = ?", (held.owner, held.token))


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


class Heartbeat:
    """A background thread with its own connection that says every few seconds that this run is alive, whatever the run itself is at."""

    def __init__(self, path: Path, held: OwnLease, clock: Callable[[], datetime], every: float = HEARTBEAT_SECONDS) -> None:
        self._path, self._held, self._clock, self._every = path, held, clock, every
        self.own_file = OwnFile(path)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lease-heartbeat", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def beat(self, conn: sqlite3.Connection) -> bool:
        """Writes one heartbeat; False when the lease is no longer ours."""
        return beat(conn, self._held, self._clock())

    def _run(self) -> None:
        conn: sqlite3.Connection | None = None
        ours = True
        while ours and not self._stop.wait(self._every):
            try:
                if not self.own_file.is_there():
                    self.own_file.set_aside()
                    break  # another file is there by now, which is none of ours
                if conn is None:
                    conn = sqlite3.connect(existing(self._path), uri=True, timeout=BUSY_SECONDS, isolation_level=None)
                    conn.execute("PRAGMA wal_autocheckpoint = 0")  # one connection checkpoints, the writer's
                ours = self.beat(conn)
            except sqlite3.Error:
                continue  # busy or out of disk: the next beat tries again, and the fencing token guards every write meanwhile
        if conn is not None:
            conn.close()
