"""From the URL of a state to where it is kept."""

from __future__ import annotations

from pathlib import Path

from reconciler.fleet import StateError
from reconciler.state.sqlite.store import SqliteStore
from reconciler.state.store import Store


def open_state(url: str, folder: Path = Path()) -> Store:
    """The state of `sqlite:///PATH`, or of a mere path; `folder` is what a relative one is below (`sqlite:////PATH` is absolute).

    Raises StateError for a kind that cannot be opened. Nothing of the URL is quoted: it may hold a password.
    """
    scheme, separator, rest = url.partition("://")
    if not separator:
        return SqliteStore(folder / url)
    if scheme in ("postgresql", "postgres"):
        what = "a state in PostgreSQL needs the extra `postgres`, which this version of gpurec does not have yet"
        raise StateError.of(what, "--state", "name a file: sqlite:///PATH or a path")
    if scheme != "sqlite":
        raise StateError.of(f"a state of kind {scheme[:40]!r} cannot be opened", "--state", "write sqlite:///PATH or a path")
    return SqliteStore(folder / rest.removeprefix("/") if not rest.startswith("//") else Path(rest[1:]))
