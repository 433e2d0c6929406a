"""Engines of which the urls lead to one server: it would be counted, loaded and unloaded twice."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

from reconciler.fleet.errors import Problem
from reconciler.fleet.facts import FleetFacts
from reconciler.fleet.inventory import EngineSpec, Fleet

_PORTS = {"http": 80, "https": 443}
_Origin = tuple[str, str, int | None, str]


def same_servers(fleet: Fleet, facts: FleetFacts | None = None) -> tuple[Problem, ...]:
    """One problem for each url that several engines have, naming the first two of them and how many there are. With `facts` only engines
    that answered count: of one that cannot be reached nothing is done twice."""
    by_origin: dict[_Origin, list[EngineSpec]] = {}
    for engine in _counted(fleet, facts):
        found = origin(engine.url)
        if found is not None:
            by_origin.setdefault(found, []).append(engine)
    return tuple(_problem(engines) for engines in by_origin.values() if len(engines) > 1)


def origin(url: str) -> _Origin | None:
    """What two spellings of one url have in common: scheme, host, port, path; None for what is no url."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    host = (parts.hostname or "").rstrip(".")
    scheme = parts.scheme.lower()
    return scheme, "127.0.0.1" if host == "localhost" else host, port or _PORTS.get(scheme), parts.path.rstrip("/")


def _counted(fleet: Fleet, facts: FleetFacts | None) -> Iterator[EngineSpec]:
    for node in fleet.nodes.values():
        for engine in node.engines:
            seen = facts.engine(engine.id) if facts is not None else None
            if facts is None or (seen is not None and seen.reachable):
                yield engine


def _problem(engines: list[EngineSpec]) -> Problem:
    first, second, *more = engines
    others = f" (and {len(more)} more)" if more else ""
    what = f"engine {first.id} ({_shown(first)}) and engine {second.id} ({_shown(second)}){others} lead to one server"
    return Problem(what, hint="give each its own url, or take one of them out of the inventory")


def _shown(engine: EngineSpec) -> str:
    """Its url without what may be secret in it."""
    parts = urlsplit(engine.url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
