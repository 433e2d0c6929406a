"""The lease in its one row: taken under a rising token, by the server's clock, proved by every transaction, refreshed by a thread."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime

import psycopg

from reconciler.fleet import StateError
from reconciler.state.lease import COLUMNS, HEARTBEAT_SECONDS, Lease, OwnLease, lease_of
from reconciler.state.not_as_written import NotAsWritten
from reconciler.state.postgres.address import Address
from reconciler.state.postgres.connection import ConnectionLost, PostgresConnection, connect
from reconciler.state.process import this_process
from reconciler.state.sql.lease import Beating, claim

_SELECT = f"SELECT {', '.join(COLUMNS)}, extract(epoch FROM clock_timestamp())::float8 FROM lease WHERE id = 1"  # noqa: S608
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
    conn.begin()
    try:
        held, now = read_lease(conn, " FOR UPDATE")
        own = claim(conn, where, command, held, now, this_process(), watched=watched, also="writes = 0, ")
        conn.commit()
    except BaseException:
        conn.rollback()
        raise
    return own


def beat(conn: PostgresConnection, held: OwnLease) -> bool:
    """Says that the holder is alive; False when the lease is no longer its own."""
    done = conn.execute(
        f"UPDATE lease SET heartbeat = {_NOW}, heartbeat_at = extract(epoch FROM clock_timestamp())::float8 "  # noqa: S608
        "WHERE id = 1 AND owner = ? AND token = ?",
        (held.owner, held.token),
    )
    return done.rowcount == 1


class Heartbeat(Beating):
    """Of a lease in a database. `address`: where its fleet is by now."""

    def __init__(self, address: Callable[[], Address], held: OwnLease, every: float = HEARTBEAT_SECONDS) -> None:
        super().__init__(every)
        self._address, self._held = address, held
        self._conn: PostgresConnection | None = None

    def _goes_on(self) -> bool:
        try:
            self._conn = self._conn or connect(self._address())
            return beat(self._conn, self._held)
        except (StateError, ConnectionLost, psycopg.Error):
            self._end()
            return True

    def _end(self) -> None:
        if self._conn is not None:
            with suppress(psycopg.Error):
                self._conn.close()
        self._conn = None
