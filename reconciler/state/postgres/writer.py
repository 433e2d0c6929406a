"""Writing a store in PostgreSQL: every transaction proves the lease by counting itself there, so that a writer whose connection broke knows
which of its transactions are in, and whether the server that answers now has all of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime

from reconciler.fleet import StateError
from reconciler.state.lease import OwnLease
from reconciler.state.postgres.address import Address
from reconciler.state.postgres.connection import ConnectionLost, PostgresConnection, connect, postgres_said
from reconciler.state.postgres.reader import PostgresReader
from reconciler.state.postgres.schema import rename
from reconciler.state.sql.connection import Connection, Replaced, TransactionLost, Unwritable
from reconciler.state.sql.fleet_name import refuse_other_fleet, write_fleet
from reconciler.state.sql.rescue import RescuePlace, refuse_waiting
from reconciler.state.sql.waiting_tickets import refuse_tickets
from reconciler.state.sql.writer import SqlWriter, retried

RECONNECT_SECONDS = 20.0
"""How long a server that went away is waited for: less than a lease lasts."""
_PAUSE = 0.25


class PostgresWriter(SqlWriter, PostgresReader):
    """A StateWriter over PostgreSQL, for as long as its lease holds."""

    def __init__(
        self,
        address: Address,
        conn: PostgresConnection,
        held: OwnLease,
        clock: Callable[[], datetime],
        rescues: RescuePlace,
        *,
        fleet: str | None = None,
        new: bool = False,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        PostgresReader.__init__(self, address, conn)
        self._start(held, clock, rescues, fleet=fleet, new=new)
        self._sleep = sleep
        self._writes = 0
        self._mine = 0

    @property
    def address(self) -> Address:
        """Of the fleet by the name that it has now."""
        return self._address

    def close(self) -> None:
        """Does nothing: the block that opened the writer closes it, after it has given the lease back."""

    def end(self) -> None:
        PostgresReader.close(self)

    @retried
    def rename_fleet(self, old: str, new: str) -> None:
        """Raises StateError, too, where the database has a fleet of the new name, or a rescue journal waits, which names the old one, or a
        ticket."""
        refuse_waiting(self._rescues, "rename")
        refuse_tickets(self._rescues, "rename")
        address = self._address.of(new)
        with self._writing() as conn:
            refuse_other_fleet(conn, self._where, old)
            write_fleet(conn, new)
            if address != self._address:
                assert self._conn is not None
                rename(self._conn, self._address, address)
        assert self._conn is not None
        self._address = address
        with postgres_said(self._where):
            self._conn.use(address.schema)

    def _still_ours(self, conn: Connection) -> bool:
        """Raises Replaced where the database is behind what this run wrote to it: another server answers, which lacks the end."""
        row = conn.execute("SELECT owner, token, writes FROM lease WHERE id = 1").fetchone()
        owner, token, writes = row or (None, 0, 0)
        if token < self._held.token or ((owner, token) == (self._held.owner, self._held.token) and writes < self._writes + self._mine):
            raise Replaced.of(
                "the database is behind what this run wrote to it: another server answers now, or it was put back to an earlier moment",
                self._where,
                "see that the right server answers, and plan: it finds out by probing what was done",
            )
        return (owner, token) == (self._held.owner, self._held.token)

    def _snapshot(self) -> PostgresConnection:
        assert self._conn is not None
        if self._conn.lost:
            self._conn = self._again()
        return PostgresReader._snapshot(self)

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        if self._conn is None:
            raise StateError.of("the state is closed", self._where)
        with postgres_said(self._where):
            if self._conn.lost:
                self._conn = self._again()
            conn = self._conn
            try:
                conn.begin()
                conn.execute(
                    "UPDATE lease SET writes = writes + 1 WHERE id = 1 AND owner = ? AND token = ?", (self._held.owner, self._held.token)
                )
                self._mine = 1
                self._prove(conn)
                yield conn
            except ConnectionLost as error:
                raise TransactionLost.of(f"the connection to the database was lost ({error})", self._where, "run again") from error
            except BaseException:
                conn.rollback()
                raise
            finally:
                self._mine = 0
            self._commit(conn)

    def _commit(self, conn: PostgresConnection) -> None:
        """Ends the transaction. Where the connection breaks at that, the count in the lease says whether it is in: read under the lock of
        its row, for which a server that is still at that commit is waited for."""
        try:
            conn.commit()
        except ConnectionLost as error:
            self._conn = self._again()
            row = self._conn.execute("SELECT owner, token, writes FROM lease WHERE id = 1 FOR UPDATE").fetchone()
            if row != (self._held.owner, self._held.token, self._writes + 1):
                raise TransactionLost.of(f"the connection to the database was lost ({error})", self._where, "run again") from error
        self._writes += 1

    def _again(self) -> PostgresConnection:
        """A new connection, for which a server that is starting again, or another one in its place, is waited for. Raises Unwritable."""
        waited, end = 0.0, time.monotonic() + RECONNECT_SECONDS
        while True:
            try:
                return connect(self._address)
            except Unwritable:
                if waited >= RECONNECT_SECONDS or time.monotonic() >= end:
                    raise
            self._sleep(_PAUSE)
            waited += _PAUSE
