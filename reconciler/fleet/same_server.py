"""What stands in the inventory twice: engines of which the urls lead to one server, and nodes that are one machine. It would be counted,
loaded and unloaded twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, ip_address
from urllib.parse import urlsplit

from reconciler.fleet.errors import Place, Problem
from reconciler.fleet.facts import FleetFacts
from reconciler.fleet.inventory import EngineSpec, Fleet
from reconciler.fleet.names import EngineId

_PORTS = {"http": 80, "https": 443}
_BYTES = 4
"""Of an IPv4 address."""
_Origin = tuple[str, str, int | None, str]
PlaceOf = Callable[[EngineId | str], Place | None]
"""Where an engine, or a host by its name, stands in the files; None where no file has it."""


def same_servers(fleet: Fleet, place_of: PlaceOf, facts: FleetFacts | None = None) -> tuple[Problem, ...]:
    """One problem for each url that several engines have, naming the first two of them, where both stand, and how many there are. With
    `facts` only engines that answered count: of one that cannot be reached nothing is done twice."""
    by_origin: dict[_Origin, list[EngineSpec]] = {}
    shared = Counter(node.address for node in fleet.nodes.values())  # hosts behind one forwarded address are several
    addresses = {name: node.address for name, node in fleet.nodes.items() if shared[node.address] == 1}
    for engine in _counted(fleet, facts):
        found = origin(engine.url, addresses)
        if found is not None:
            by_origin.setdefault(found, []).append(engine)
    return tuple(_problem(engines, place_of) for engines in by_origin.values() if len(engines) > 1)


def same_machines(facts: FleetFacts, place_of: PlaceOf) -> tuple[Problem, ...]:
    """One problem for each card that probing saw on several nodes: a UUID is one card in the world. Cards that were only declared, and
    slices, of which some drivers name the parent, do not count."""
    by_card: dict[str, list[str]] = {}
    for node in facts.nodes.values():
        for uuid in {
            card.uuid for card in node.cards or () if card.uuid is not None and card.source != "declared" and card.mig_parent is None
        }:
            by_card.setdefault(uuid, []).append(node.node)
    by_nodes = {tuple(nodes): uuid for uuid, nodes in sorted(by_card.items(), reverse=True) if len(nodes) > 1}
    return tuple(_machine(nodes, uuid, place_of) for nodes, uuid in sorted(by_nodes.items()))


def _machine(nodes: tuple[str, ...], uuid: str, place_of: PlaceOf) -> Problem:
    first, second, *more = nodes
    others = f" (and {len(more)} more)" if more else ""
    where, other = place_of(first), place_of(second)
    hosts = f"hosts {first} and {second}{_at(other, where)}{others}"
    what = f"{hosts} show the same card ({uuid}): they are one machine under several names"
    return Problem(what, where, "make them one host with all its engines, or give each of its engines its own cards under one host")


def origin(url: str, addresses: Mapping[str, str] = {}) -> _Origin | None:
    """What two spellings of one url have in common: scheme, host, port, path; None for what is no url. A host that the inventory has is its
    address there (`addresses`, by name)."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    host = (parts.hostname or "").rstrip(".")
    scheme = parts.scheme.lower()
    return scheme, _as_number(addresses.get(host, host)), port or _PORTS.get(scheme), parts.path.rstrip("/")


def _as_number(host: str) -> str:
    """An address in its usual form, in whichever it is written (`127.1`, `0x7f.0.0.1`, `::ffff:7f00:1`)."""
    if host == "localhost":
        return "127.0.0.1"
    with suppress(ValueError):
        address = ip_address(host)
        return str(address.ipv4_mapped or address) if isinstance(address, IPv6Address) else str(address)
    with suppress(ValueError):  # of no more digits than int() reads
        *first, rest = (int(part, 0) for part in host.split("."))  # the last part is all that the others leave
        if len(first) < _BYTES and all(0 <= value < 256 for value in first) and rest >= 0:
            return str(IPv4Address(sum(value << 8 * (_BYTES - 1 - place) for place, value in enumerate(first)) + rest))
    return host


def _counted(fleet: Fleet, facts: FleetFacts | None) -> Iterator[EngineSpec]:
    for node in fleet.nodes.values():
        for engine in node.engines:
            seen = facts.engine(engine.id) if facts is not None else None
            if facts is None or (seen is not None and seen.reachable):
                yield engine


def _problem(engines: list[EngineSpec], place_of: PlaceOf) -> Problem:
    first, second, *more = engines
    others = f" (and {len(more)} more)" if more else ""
    where, other = place_of(first.id), place_of(second.id)
    both = f"engine {first.id} ({_shown(first)}) and engine {second.id} ({_shown(second)}){_at(other, where)}"
    return Problem(f"{both}{others} lead to one server", where, "give each its own url, or take one of them out of the inventory")


def _shown(engine: EngineSpec) -> str:
    """Its url without what may be secret in it."""
    parts = urlsplit(engine.url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _at(place: Place | None, first: Place | None) -> str:
    """Where the second of two stands, unless it is where the first does: hosts share the variables of a group."""
    return f" at {place}" if place is not None and place != first else ""
