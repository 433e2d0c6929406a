"""The lease in its one row: taken under a rising token, by the server's clock, proved by every transaction, refreshed by a thread."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from uuid import uuid4

import psycopg

from reconciler.fleet import StateError
from reconciler.state.lease import COLUMNS, HEARTBEAT_SECONDS, Lease, OwnLease, iso, lease_of, lease_row, lock_held, refuse_if_held
from reconciler.state.not_as_written import NotAsWritten
from reconciler.state.postgres.address import Address
from reconciler.state.postgres.connection import ConnectionLost, PostgresConnection, connect
from reconciler.state.process import this_process

_SELECT = f"SELECT {', '.join(COLUMNS)}, extract(epoch FROM clock_timestamp())::float8 FROM lease WHERE id = 1"  # noqa: S608
_SET = ", ".join(f"{column} = ?" for column in COLUMNS)
_NOW = "to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')"


def read_lease(conn: PostgresConnection, more: str = "") -> tuple[Lease | None, datetime]:
    """Who holds the lease, and what time it is on the server. Raises NotAsWritten for a row that is not whole."""
    row = conn.execute(_SELECT + more).fetchone()
    if row is None:
        raise NotAsWritten("the row of the lock is gone")
    return lease_of(row[:-1]), datetime.fromtimestamp(row[-1], UTC)


def take_lease(conn: PostgresConnection, where: str, command: str, watched: Lease | None = None) -> OwnLease:
    """Takes the lease in one transaction; `watched` is that of a holder that was found to be silent.

    Raises LockHeld when another run has it, or when the holder that was watched has been heard of since.
    """
    me, owner = this_process(), str(uuid4())
    conn.begin()
    try:
        held, now = read_lease(conn, " FOR UPDATE")
        refuse_if_held(held, where, now, me)
        if held is not None and watched is not None and held.owner == watched.owner and held != watched:
            raise lock_held(held, where)
        took_over = held.taken_over(held.standing(me, now)) if held is not None else None
        row = lease_row(Lease(owner, me, command, iso(now), iso(now), now.timestamp()))
        ((token,),) = conn.execute(f"UPDATE lease SET token = token + 1, writes = 0, {_SET} WHERE id = 1 RETURNING token", row).fetchall()  # noqa: S608
        conn.commit()
    except BaseException:
        conn.rollback()
        raise
    return OwnLease(owner, token, took_over)


def break_lease(conn: PostgresConnection, owner: str) -> bool:
    """Takes the lease from `owner` and gives it to nobody: the token rises, so that the holder can write nothing any more.

    False when somebody else, or nobody, has it by now.
    """
    return conn.execute("UPDATE lease SET token = token + 1, owner = NULL WHERE id = 1 AND owner = ?", (owner,)).rowcount == 1


def release_lease(conn: PostgresConnection, held: OwnLease) -> None:
    """Gives the lease back; does nothing when somebody else has it by now. The token stays, so that it only ever rises."""
    conn.execute("UPDATE lease SET owner = NULL WHERE id = 1 AND owner = ? AND token = ?", (held.owner, held.token))


def beat(conn: PostgresConnection, held: OwnLease) -> bool:
    """Says that the holder is alive; False when the lease is no longer its own."""
    done = conn.execute(
        f"UPDATE lease SET heartbeat = {_NOW}, heartbeat_at = extract(epoch FROM clock_timestamp())::float8 "  # noqa: S608
        "WHERE id = 1 AND owner = ? AND token = ?",
        (held.owner, held.token),
    )
    return done.rowcount == 1


class Heartbeat:
    """A background thread with its own connection that says every few seconds that this run is alive, whatever the run itself is at."""

    def __init__(self, address: Callable[[], Address], held: OwnLease, every: float = HEARTBEAT_SECONDS) -> None:
        self._address, self._held, self._every = address, held, every
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lease-heartbeat", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        conn: PostgresConnection | None = None
        ours = True
        while ours and not self._stop.wait(self._every):
            try:
                conn = conn or connect(self._address())
                ours = beat(conn, self._held)
            except (StateError, ConnectionLost, psycopg.Error):  # the next beat tries again; the token guards every write meanwhile
                if conn is not None:
                    with suppress(psycopg.Error):
                        conn.close()
                conn = None
        if conn is not None:
            conn.close()
