"""Reading a store in a file. Never writes, so it needs no lease."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from reconciler.state.lease import Lease
from reconciler.state.protocol import StateReader
from reconciler.state.sql.connection import Connection
from reconciler.state.sql.reader import SqlReader
from reconciler.state.sqlite.connection import followed, open_for_reading, sqlite_said
from reconciler.state.sqlite.lease import read_lease
from reconciler.state.sqlite.schema import SCHEMA_VERSION, migrate, schema_version


class SqliteReader(SqlReader):
    """A StateReader over an SQLite file; `conn` None is the store that does not exist yet."""

    def __init__(self, path: Path, conn: sqlite3.Connection | None) -> None:
        super().__init__(str(path))
        self._path, self._conn = path, conn

    def lease(self) -> Lease | None:
        with self._reading():
            return read_lease(self._conn) if self._conn is not None else None

    def close(self) -> None:
        if self._conn is not None:
            self._conn.close()
            self._conn = None

    @contextmanager
    def _reading(self) -> Iterator[Connection | None]:
        if self._conn is None:
            yield None
            return
        with sqlite_said(self._path):
            self._conn.execute("BEGIN")
            try:
                yield self._conn
            finally:
                self._conn.execute("ROLLBACK")


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
