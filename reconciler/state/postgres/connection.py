"""A connection to PostgreSQL: bounded in time, with the statements of `reconciler.state.sql`, and its errors as sentences."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any

import psycopg
from psycopg import errors, sql

from reconciler.fleet import Place, Problem, StateError
from reconciler.state.postgres.address import CONNECT_SECONDS, Address
from reconciler.state.sql.connection import Damaged, Rows, TransactionLost, Unwritable, on_conflict, upsert
from reconciler.state.sql.row_errors import NO_VALUE, UndecodableRow, words_of

STATEMENT_SECONDS = 60
LOCK_SECONDS = 10
IDLE_SECONDS = 20
"""How long a transaction whose client does nothing may hold its locks: it stopped, or its machine is gone."""
_MANY = 100
"""From so many rows on they are copied."""
_LONGEST = 300
_BOUNDS = {
    "statement_timeout": f"{STATEMENT_SECONDS}s",
    "lock_timeout": f"{LOCK_SECONDS}s",
    "idle_in_transaction_session_timeout": f"{IDLE_SECONDS}s",
    "client_encoding": "UTF8",
}


class ConnectionLost(Exception):
    """The connection is gone; what its transaction wrote is undone, unless it was at its commit."""


class PostgresConnection:
    """What `reconciler.state.sql` asks of a database. Outside `begin` and `commit` every statement is a transaction."""

    def __init__(self, raw: psycopg.Connection[Any]) -> None:
        self._raw = raw

    @property
    def lost(self) -> bool:
        return self._raw.closed

    @property
    def server(self) -> str:
        return str(self._raw.info.parameter_status("server_version"))

    @property
    def encrypted(self) -> bool:
        return bool(self._raw.pgconn.ssl_in_use)

    def execute(self, statement: str, values: Sequence[Any] = (), /) -> Rows:
        with self._losing():
            return self._raw.execute(_translated(statement), [_value(one) for one in values], binary=True)

    def executemany(self, statement: str, values: Iterable[Sequence[Any]], /) -> Rows:
        with self._losing():
            cursor = self._raw.cursor()
            cursor.executemany(_translated(statement), [[_value(one) for one in row] for row in values])
            return cursor

    def put(self, table: str, columns: Sequence[str], key: Sequence[str], rows: Sequence[Sequence[Any]], /) -> None:
        if len(rows) >= _MANY:
            self._put_many(table, columns, key, rows)
        elif rows:
            self.executemany(upsert(table, columns, key), rows)
        if "id" in columns:  # the next one that the table gives is after these
            counter = "pg_get_serial_sequence(?, 'id')"  # NULL where rows bring their own, which sets nothing
            last = f"SELECT CAST(max(id) AS BIGINT) FROM {table} WHERE {counter} IS NOT NULL"  # noqa: S608
            self.execute(f"SELECT setval({counter}, ({last}))", (table, table))

    def _put_many(self, table: str, columns: Sequence[str], key: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        at = [columns.index(one) for one in key]
        last = {tuple(row[place] for place in at): row for row in rows}  # of two with one key the later one counts
        names = ", ".join(columns)
        self.execute(f"CREATE TEMPORARY TABLE incoming ON COMMIT DROP AS SELECT {names} FROM {table} WHERE false")  # noqa: S608
        self.copy_in("incoming", columns, last.values())
        self.execute(f"INSERT INTO {table} ({names}) SELECT {names} FROM incoming {on_conflict(columns, key)}")  # noqa: S608
        self.execute("DROP TABLE incoming")

    def copy_in(self, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """Adds rows that are not there yet."""
        with self._losing(), self._raw.cursor() as cursor, cursor.copy(f"COPY {table} ({', '.join(columns)}) FROM STDIN".encode()) as copy:
            for row in rows:
                copy.write_row([_value(one) for one in row])

    def allow(self, seconds: float, /) -> None:
        for name in ("statement_timeout", "idle_in_transaction_session_timeout"):
            self.execute("SELECT set_config(?, ?, true)", (name, f"{seconds:.0f}s"))

    def use(self, schema: str) -> None:
        """Names of tables are those of this schema from here on."""
        self.execute("SELECT set_config('search_path', ?, false)", (sql.Identifier(schema).as_string(None),))

    def begin(self, how: str = "") -> None:
        self.execute(f"BEGIN {how}")

    def commit(self) -> None:
        self.execute("COMMIT")

    def rollback(self) -> None:
        """What went wrong before is what is told."""
        with suppress(psycopg.Error, ConnectionLost):
            self._raw.rollback()

    def close(self) -> None:
        self._raw.close()

    @contextmanager
    def _losing(self) -> Iterator[None]:
        try:
            yield
        except psycopg.Error as error:
            if self._raw.closed:
                raise ConnectionLost(_words(error)) from error
            raise


def connect(address: Address) -> PostgresConnection:
    """Raises Unwritable where the server is not to be had within CONNECT_SECONDS, StateError where it refuses."""
    bounds = {"connect_timeout": CONNECT_SECONDS, "keepalives_idle": 5, "keepalives_interval": 2, "keepalives_count": 3}
    with postgres_said(str(address)):
        raw = psycopg.connect(**{**address.settings, **bounds}, autocommit=True, application_name="gpurec", tcp_user_timeout=15000)  # type: ignore[arg-type]
        conn = PostgresConnection(raw)
        try:
            for name, value in _BOUNDS.items():
                conn.execute("SELECT set_config(?, ?, false)", (name, value))
            if address.fleet is not None:
                conn.use(address.schema)
        except BaseException:
            conn.close()
            raise
    return conn


@cache
def _translated(statement: str) -> bytes:
    return statement.replace("%", "%%").replace("?", "%s").encode()


def _value(value: Any) -> Any:
    """Text without NUL, which PostgreSQL cannot hold, and words of ours as the text that they are."""
    return str(value).replace("\0", "\N{REPLACEMENT CHARACTER}") if isinstance(value, str) else value


@contextmanager
def postgres_said(where: str) -> Iterator[None]:
    """Turns what PostgreSQL raises inside the block, and what rows that are none make their readers raise, into one sentence."""
    try:
        yield
    except ConnectionLost as error:
        what = f"the connection to the database was lost ({error})"
        raise TransactionLost.of(what, where, "run again; the next plan finds out what was done") from error
    except psycopg.Error as error:
        raise _sentence(error, where) from error
    except UndecodableRow as error:
        what = f"the state holds what gpurec did not write: {error}"
        raise Damaged.of(what, where, "gpurec state check names every such row; restore a backup of the database") from error
    except NO_VALUE as error:
        what = f"the state holds, or was given, a value that it cannot hold: {words_of(error)}"
        raise Damaged.of(what, where, "gpurec state check names every such row; restore a backup of the database") from error


def _sentence(error: psycopg.Error, where: str) -> StateError:
    said = _words(error)
    match error:
        case errors.ReadOnlySqlTransaction():
            hint = "name the primary, or all of them with ?target_session_attrs=read-write"
            return _unwritable("the state cannot be written: this server only reads, as a standby does", where, hint)
        case errors.QueryCanceled() | errors.LockNotAvailable():
            return _unwritable(f"the state is busy: {said}", where, "try again")
        case errors.DiskFull() | errors.OutOfMemory() | errors.TooManyConnections() | errors.ConfigurationLimitExceeded():
            return _unwritable(f"the server of the state has no room left: {said}", where, "make room there and run again")
        case errors.InsufficientPrivilege():
            hint = "gpurec needs a role that owns the schema of the fleet, or may create it: see docs/postgres.md"
            return _error(f"the role of the state may not do this: {said}", where, hint)
        case errors.UndefinedTable() | errors.UndefinedColumn() | errors.InvalidSchemaName():
            return Damaged(Problem(f"the state is damaged: {said}", Place(where), "restore a backup of the database"))
        case psycopg.OperationalError():
            hint = "check --state and that the server runs; gpurec doctor and psql with the same URL say more"
            return _unwritable(f"the database of the state cannot be used: {said}", where, hint)
    return _error(f"PostgreSQL refuses: {said}", where, "check that the schema is one of gpurec")


def _words(error: psycopg.Error) -> str:
    """What the server or libpq says, on one line and bounded. Neither quotes a password or a value of ours in its primary message."""
    said = error.diag.message_primary or str(error)
    return " ".join(said.split())[:_LONGEST] or type(error).__name__


def _error(what: str, where: str, hint: str) -> StateError:
    return StateError(Problem(what, Place(where), hint))


def _unwritable(what: str, where: str, hint: str) -> Unwritable:
    return Unwritable(Problem(what, Place(where), hint))
