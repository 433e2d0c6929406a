"""Is a state in PostgreSQL sound? Every look is one finding; nothing is changed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

from reconciler.state.finding import StateFinding, StateLevel
from reconciler.state.postgres.address import Address
from reconciler.state.postgres.connection import PostgresConnection, connect, postgres_said
from reconciler.state.postgres.lease import read_lease
from reconciler.state.postgres.schema import SCHEMA_VERSION, schema_version
from reconciler.state.sql.checking import check_numbers, check_rows
from reconciler.state.sql.rescue import RescuePlace, find_rescues
from reconciler.state.sql.waiting_tickets import check_no_state, check_tickets

_RESTORE = "restore a backup of the database"


def check_state(address: Address, rescues: RescuePlace) -> list[StateFinding]:
    """Everything that can be told of a state in a database. Raises StateError where there is none, nor a ticket for one."""
    with closing(connect(address)) as conn, postgres_said(str(address)):
        version = schema_version(conn, str(address))
        if version == 0:
            return check_no_state(rescues, str(address))
        found = [StateFinding("server", StateLevel.OK, f"PostgreSQL {conn.server}"), _connection(conn, address), _role(conn)]
        if version < SCHEMA_VERSION:
            found.append(StateFinding("schema", StateLevel.OK, f"version {version}; the next apply brings it to {SCHEMA_VERSION}"))
        else:
            found += [StateFinding("schema", StateLevel.OK, f"version {version}"), _rows(conn), check_numbers(conn, _RESTORE)]
    return [*found, *_rescues(rescues)]


def _connection(conn: PostgresConnection, address: Address) -> StateFinding:
    mode = address.settings.get("sslmode", "prefer")
    if address.local:
        return StateFinding("connection", StateLevel.OK, "of this machine")
    if conn.encrypted and mode == "verify-full":
        return StateFinding("connection", StateLevel.OK, "TLS, the server's certificate and name are verified")
    what = (
        f"the server is not verified (sslmode={mode})" if conn.encrypted else "not encrypted: whoever is on the way can read and change it"
    )
    return StateFinding("connection", StateLevel.WARNING, what, "leave sslmode out of the URL, which is verify-full then")


def _role(conn: PostgresConnection) -> StateFinding:
    ((name, everything),) = conn.execute("SELECT rolname::text, rolsuper FROM pg_roles WHERE rolname = current_user").fetchall()
    if everything:
        return StateFinding(
            "role", StateLevel.WARNING, f"{name} is a superuser, which gpurec has no need of", "give gpurec a role of its own"
        )
    return StateFinding("role", StateLevel.OK, str(name))


def _rows(conn: PostgresConnection) -> StateFinding:
    try:
        read_lease(conn)
    except ValueError as error:
        return StateFinding("rows", StateLevel.ERROR, f"lease: {error}", _RESTORE)
    return check_rows(conn, _RESTORE)


def _rescues(place: RescuePlace) -> Iterator[StateFinding]:
    for rescue in find_rescues(place):
        yield StateFinding("rescue", StateLevel.WARNING, f"{rescue} waits to be read in", "gpurec state recover")
    yield from check_tickets(place)
