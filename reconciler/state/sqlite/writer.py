"""Writing a store in a file: every write is one immediate transaction, and ends on the disk."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from reconciler.fleet import StateError
from reconciler.state.lease import OwnLease
from reconciler.state.sql.connection import Connection, Damaged
from reconciler.state.sql.fleet_name import KEY, write_fleet
from reconciler.state.sql.rows import read_meta
from reconciler.state.sql.writer import SqlWriter
from reconciler.state.sqlite.check import network_sentence
from reconciler.state.sqlite.connection import rescue_place, sqlite_said
from reconciler.state.sqlite.filesystem import network_filesystem
from reconciler.state.sqlite.lease import still_ours, was_taken_over
from reconciler.state.sqlite.own_file import OwnFile
from reconciler.state.sqlite.reader import SqliteReader


class SqliteWriter(SqlWriter, SqliteReader):
    """A StateWriter over an SQLite file, for as long as its lease holds."""

    def __init__(
        self,
        path: Path,
        conn: sqlite3.Connection,
        held: OwnLease,
        clock: Callable[[], datetime],
        *,
        fleet: str | None = None,
        new: bool = False,
    ) -> None:
        SqliteReader.__init__(self, path, conn)
        self._start(held, clock, rescue_place(path), fleet=fleet, new=new)
        self.own_file = OwnFile(path)
        self.own_file.written()

    @property
    def warnings(self) -> tuple[str, ...]:
        network = network_filesystem(self._path)
        found = (f"{network_sentence(network)}: use it from one machine only",) if network is not None else ()
        return (*found, *super().warnings)

    def close(self) -> None:
        """Does nothing: the block that opened the writer closes it, after it has given the lease back."""

    def _still_ours(self, conn: Connection) -> bool:
        if not self.own_file.is_there():
            raise self.own_file.replaced()
        if not self.own_file.is_as_left() and not was_taken_over(conn, self._held):
            raise self.own_file.replaced()
        return still_ours(conn, self._held)

    def check_file(self) -> None:
        """Raises Replaced where the file is no longer the one that this run opened, or holds what somebody without the lease put there."""
        with self._reading() as conn:
            assert conn is not None
            self._still_ours(conn)

    def become(self, other: Path) -> None:
        """Takes over all that another store of the same schema holds, in one transaction; the lock and its token stay what they are."""
        assert self._conn is not None
        with sqlite_said(other):
            self._conn.execute("ATTACH ? AS other", (str(other.absolute()),))
        try:
            with self._writing():
                conn = self._conn
                before = read_meta(conn)
                conn.execute("PRAGMA defer_foreign_keys = ON")
                names = [str(name) for (name,) in conn.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
                for name in names:
                    if name in ("lease", "migrations") or name.startswith("sqlite_"):
                        continue
                    columns = ", ".join(str(column[1]) for column in conn.execute(f"PRAGMA table_info({name})"))
                    conn.execute(f"DELETE FROM main.{name}")  # noqa: S608
                    conn.execute(f"INSERT INTO main.{name} ({columns}) SELECT {columns} FROM other.{name}")  # noqa: S608
                if KEY in before and read_meta(conn).get("lineage") == before.get("lineage"):
                    write_fleet(conn, before[KEY])  # what the fleet is called is no part of what is put back
                self._next_serial = None
        finally:
            self._conn.execute("DETACH other")

    @contextmanager
    def _reading(self) -> Iterator[Connection | None]:
        with self._unless_overwritten(), super()._reading() as conn:
            yield conn

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        if self._conn is None:
            raise StateError.of("the state is closed", self._where)
        with self._unless_overwritten(), sqlite_said(self._path):
            self._conn.execute("BEGIN IMMEDIATE")
            try:
                self._prove(self._conn)
                yield self._conn
                if not self.own_file.is_as_left():
                    raise self.own_file.replaced()
                try:
                    self._conn.execute("COMMIT")
                finally:
                    self.own_file.written()
            except BaseException:
                if self._conn.in_transaction:
                    with suppress(sqlite3.Error):  # what went wrong first is what is told
                        self._conn.execute("ROLLBACK")
                raise

    @contextmanager
    def _unless_overwritten(self) -> Iterator[None]:
        """What was written over the file makes it look damaged."""
        try:
            yield
        except Damaged as error:
            if self.own_file.is_as_left():
                raise
            raise self.own_file.replaced() from error
