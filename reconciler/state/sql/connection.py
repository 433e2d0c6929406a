"""What both databases offer: statements with `?` for each value, in the SQL that both understand."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol, runtime_checkable

from reconciler.fleet import StateError


class Unwritable(StateError):
    """The state cannot be written now: disk full or failing, read-only, busy for too long, or its server is not there. What is in it is
    sound."""


class TransactionLost(Unwritable):
    """The connection broke inside a transaction, of which nothing was written: it may be tried again."""


class Replaced(Unwritable):
    """Another state, or none, is where it was when it was opened."""


class Damaged(StateError):
    """It holds what gpurec did not write, or cannot be read at all."""


class Rows(Protocol):
    """What a statement came to. `rowcount` is how many rows it wrote, all of `executemany` together."""

    @property
    def rowcount(self) -> int: ...
    def fetchone(self) -> Any: ...
    def fetchall(self) -> list[Any]: ...
    def __iter__(self) -> Iterator[Any]: ...


class Connection(Protocol):
    """A database inside a transaction of the caller's."""

    def execute(self, statement: str, values: Sequence[Any] = ..., /) -> Rows: ...
    def executemany(self, statement: str, values: Iterable[Sequence[Any]], /) -> Rows: ...


@runtime_checkable
class BulkConnection(Connection, Protocol):
    """One that has a way of its own for many rows."""

    def put(self, table: str, columns: Sequence[str], key: Sequence[str], rows: Sequence[Sequence[Any]], /) -> None:
        """The same as `put` below."""
        ...


@runtime_checkable
class BoundedConnection(Connection, Protocol):
    """One whose transactions are given up when they take, or wait, too long."""

    def allow(self, seconds: float, /) -> None:
        """The same as `allow` below."""
        ...


def allow(conn: Connection, seconds: float) -> None:
    """Lets each statement of this transaction, and each wait between two of them, take so long."""
    if isinstance(conn, BoundedConnection):
        conn.allow(seconds)


def put(conn: Connection, table: str, columns: Sequence[str], key: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Writes rows, each in the place of the one that has its key."""
    if isinstance(conn, BulkConnection):
        conn.put(table, columns, key, rows)
    elif rows:
        conn.executemany(upsert(table, columns, key), rows)


def upsert(table: str, columns: Sequence[str], key: Sequence[str]) -> str:
    """The statement that writes one such row."""
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))}) {on_conflict(columns, key)}"  # noqa: S608


def on_conflict(columns: Sequence[str], key: Sequence[str]) -> str:
    """The clause that puts a row in the place of the one that has its key."""
    others = [column for column in columns if column not in key]
    what = f"UPDATE SET {', '.join(f'{column} = excluded.{column}' for column in others)}" if others else "NOTHING"
    return f"ON CONFLICT ({', '.join(key)}) DO {what}"
