"""The URL of a state in PostgreSQL: what it may say, and what it must not."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import parse_qsl, unquote

from psycopg import ProgrammingError, conninfo

from reconciler.fleet import StateError
from reconciler.value_class import value_class

SETTINGS = frozenset(
    (
        "host",
        "port",
        "sslmode",
        "sslrootcert",
        "sslcert",
        "sslkey",
        "sslcrl",
        "passfile",
        "target_session_attrs",
        "gssencmode",
        "krbsrvname",
    )
)
"""Connection settings that the URL may have, by libpq's names ("Parameter Key Words" of its documentation)."""
SECRETS = frozenset(("password", "sslpassword", "user:password"))
CONNECT_SECONDS = 5
_PREFIX = "gpurec_"
_LONGEST_NAME = 63
_HOW = "postgresql://USER@HOST/DATABASE, with ?fleet=NAME where the command names no fleet"


@value_class
class Address:
    """A database, and the fleet of it; None: the command has named none. `where` is what people call the database, without the user."""

    where: str
    settings: Mapping[str, str]
    fleet: str | None
    local: bool

    def __str__(self) -> str:
        return self.where if self.fleet is None else f"{self.where}?fleet={self.fleet}"

    @property
    def schema(self) -> str:
        """Where the tables of the fleet are. Raises StateError for a name that no schema can have."""
        name = f"{_PREFIX}{self.fleet}"
        if len(name.encode()) > _LONGEST_NAME or "\0" in name:
            raise StateError.of(
                f"the name of the fleet is longer than {_LONGEST_NAME - len(_PREFIX)} bytes, the most that PostgreSQL takes", self.where
            )
        return name

    def of(self, fleet: str | None) -> Address:
        """The same database, for another fleet. Raises StateError for a name that no schema can have."""
        other = replace(self, fleet=fleet)
        assert fleet is None or other.schema
        return other


def fleet_of(schema: str) -> str:
    """The fleet whose tables a schema holds."""
    return schema.removeprefix(_PREFIX)


def parse(url: str, fleet: str | None = None, environment: Mapping[str, str] = os.environ, home: Path | None = None) -> Address:
    """The address that a URL names; `fleet` is that of the command, where the URL names none.

    Raises StateError for a URL with a password, or with a setting that is none of SETTINGS. Nothing of the URL but names of settings is
    quoted: it may hold a password.
    """
    _, _, rest = url.partition("://")
    main, _, query = rest.partition("?")
    authority, _, database = main.partition("/")
    user, at, _ = authority.rpartition("@")
    asked = dict(parse_qsl(query, keep_blank_values=True))
    strange = "".join(f"{key}={value}" for key, value in asked.items() if key not in SETTINGS)
    torn = not at and ":" in authority and "@" in database + strange  # by a `/` or a `?` of a password that is not escaped
    if (at and ":" in user) or torn or SECRETS & asked.keys():
        what = "the URL of the state holds a password, which a process list, a log and the history of a shell would hold too"
        raise StateError.of(what, "--state", "leave it out: PGPASSWORD, or a file of mode 0600 that PGPASSFILE names (~/.pgpass)")
    named = asked.pop("fleet", None)
    if unknown := sorted(asked.keys() - SETTINGS):
        what = f"the URL of the state has a setting that is not known: {unknown[0]!r:.40}"
        raise StateError.of(what, "--state", f"known are {', '.join(sorted(SETTINGS))}")
    try:
        settings: dict[str, str] = {key: str(value) for key, value in conninfo.conninfo_to_dict(f"postgresql://{main}").items()}
    except ProgrammingError:
        raise StateError.of("the URL of the state cannot be read", "--state", f"write {_HOW}") from None
    settings |= asked
    if not settings.get("dbname"):
        raise StateError.of("the URL of the state names no database", "--state", f"write {_HOW}")
    hosts = settings.get("host") or environment.get("PGHOST", "")
    by_service = not hosts and bool(environment.get("PGSERVICE"))  # whose file may name any host
    local = not by_service and all(_is_local(host) for host in (environment.get("PGHOSTADDR") or hosts).split(","))
    if not local:
        mode = settings.setdefault("sslmode", environment.get("PGSSLMODE") or "verify-full")
        own = (home or Path.home()) / ".postgresql" / "root.crt"
        if mode == "verify-full" and not environment.get("PGSSLROOTCERT") and not own.exists():
            settings.setdefault("sslrootcert", "system")
    port = settings.get("port")
    shown = hosts + (f":{port}" if port and not hosts.startswith("/") else "")
    return Address(f"postgresql://{shown}/{unquote(database)}", settings, None, local).of(named or fleet)


def _is_local(host: str) -> bool:
    """A socket of this machine, or its loopback interface."""
    if not host or host.startswith(("/", "@")) or host.lower() == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
