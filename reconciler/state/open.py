"""From the URL of a state to where it is kept."""

from __future__ import annotations

import re
from pathlib import Path

from reconciler.fleet import StateError
from reconciler.state.sqlite.store import SqliteStore
from reconciler.state.store import Store

_HINT = "write sqlite:///PATH, a path, or postgresql://USER@HOST/DATABASE"
_URL = re.compile(r"(?:postgres(?:ql)?|sqlite):", re.IGNORECASE)
"""What a path does not begin with: a URL with a slash too few, whose password nobody may repeat."""


def open_state(url: str, folder: Path = Path(), fleet: str | None = None, rescues: Path | None = None) -> Store:
    """The state of `sqlite:///PATH` or a mere path, below `folder` where it is relative (`sqlite:////PATH` is absolute), or of
    `postgresql://USER@HOST/DATABASE`, whose fleet is `fleet` where the URL names none. `rescues` is the folder for what a run could not
    write to a database.

    Raises StateError for a kind that cannot be opened. Nothing of the URL is quoted: it may hold a password.
    """
    scheme, separator, rest = url.partition("://")
    if not separator and _URL.match(url):
        raise StateError.of("this begins as a URL and is none", "--state", _HINT)
    if not separator:
        return SqliteStore(folder / url)
    if scheme in ("postgresql", "postgres"):
        return _postgres(url, fleet, rescues or folder)
    if scheme != "sqlite":
        raise StateError.of(f"a state of kind {scheme[:40]!r} cannot be opened", "--state", _HINT)
    return SqliteStore(folder / rest.removeprefix("/") if not rest.startswith("//") else Path(rest[1:]))


def _postgres(url: str, fleet: str | None, rescues: Path) -> Store:
    try:
        from reconciler.state.postgres.store import open_postgres
    except ImportError as error:
        what = f"a state in PostgreSQL needs the extra `postgres` ({error})"
        raise StateError.of(what, "--state", "in a clone of gpurec: pip install '.[postgres]'") from error
    return open_postgres(url, fleet, rescues)
