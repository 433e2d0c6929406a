"""Reading a store in PostgreSQL: each read is one snapshot, and needs no lease."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from reconciler.fleet import StateError
from reconciler.state.lease import Lease
from reconciler.state.postgres.address import Address
from reconciler.state.postgres.connection import ConnectionLost, PostgresConnection, connect, postgres_said
from reconciler.state.postgres.lease import read_lease
from reconciler.state.postgres.schema import SCHEMA_VERSION, schema_version
from reconciler.state.sql.connection import Connection
from reconciler.state.sql.reader import SqlReader

_SNAPSHOT = "ISOLATION LEVEL REPEATABLE READ READ ONLY"


class PostgresReader(SqlReader):
    """A StateReader over PostgreSQL; `conn` None is the store that does not exist yet."""

    def __init__(self, address: Address, conn: PostgresConnection | None) -> None:
        super().__init__(str(address))
        self._address, self._conn = address, conn

    def lease(self) -> Lease | None:
        with postgres_said(self._where):
            return read_lease(self._conn)[0] if self._conn is not None else None

    def close(self) -> None:
        if self._conn is not None:
            self._conn.close()
            self._conn = None

    @contextmanager
    def _reading(self) -> Iterator[Connection | None]:
        if self._conn is None:
            yield None
            return
        with postgres_said(self._where):
            conn = self._snapshot()
            try:
                yield conn
            finally:
                conn.rollback()

    def _snapshot(self) -> PostgresConnection:
        """A connection in a transaction that sees one moment; a new one where the old one broke while nobody used it."""
        assert self._conn is not None
        try:
            self._conn.begin(_SNAPSHOT)
        except ConnectionLost:
            self._conn = connect(self._address)
            self._conn.begin(_SNAPSHOT)
        return self._conn


def open_reader(address: Address) -> PostgresReader:
    """Opens a store for reading; one whose fleet has no tables yet reads as empty.

    Raises StateError when the server is not to be had, or the tables are not of this gpurec.
    """
    conn = connect(address)
    try:
        with postgres_said(str(address)):
            version = schema_version(conn, str(address))
    except BaseException:
        conn.close()
        raise
    if version == 0:
        conn.close()
        return PostgresReader(address, None)
    if version < SCHEMA_VERSION:
        conn.close()
        what = f"was written by an older gpurec (schema {version}, this one knows {SCHEMA_VERSION})"
        raise StateError.of(what, str(address), "an apply, or any command that writes the state, brings it to this schema")
    return PostgresReader(address, conn)
