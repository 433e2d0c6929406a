"""Several engines of one declaration: one for each card, or several on it, each with a name and a port of its own."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal
from urllib.parse import urlsplit

from reconciler.fleet.errors import Place, Problem, WorkspaceError
from reconciler.fleet.facts import CardFacts
from reconciler.fleet.inventory import EngineSpec, Fleet, NodeSpec
from reconciler.fleet.names import EngineId
from reconciler.fleet.owned import url_of
from reconciler.fleet.units import GIB

_SIZES: Sequence[tuple[int, int]] = ((16, 1), (24, 2))
_MOST = 3
_NO_MARK = re.compile(r"[^A-Za-z0-9_.-]+")
Cards = Mapping[str, Sequence[CardFacts] | None]
"""The cards of nodes by name; None or not there: nobody knows them."""


def nodes_with_instances(fleet: Fleet) -> frozenset[str]:
    """The nodes of which the cards must be known before it is known which engines they have."""
    return frozenset(name for name, node in fleet.nodes.items() if any(map(_is_template, node.engines)))


def with_instances(fleet: Fleet, cards: Cards) -> tuple[Fleet, tuple[EngineId, ...]]:
    """The fleet with an engine for each instance in the place of its declaration, and the declarations of which nobody can tell how many
    engines they are, since the cards of their nodes, or the sizes of these, are not known: such a one has none.

    Raises WorkspaceError where two engines of a node would have one name or one port.
    """
    nodes: dict[str, NodeSpec] = {}
    unknown: list[EngineId] = []
    problems: list[Problem] = []
    for name, node in fleet.nodes.items():
        if not any(map(_is_template, node.engines)):
            nodes[name] = node
            continue
        engines: list[EngineSpec] = []
        for engine in node.engines:
            if not _is_template(engine):
                engines.append(engine)
            elif (made := _instances(engine, node, cards.get(name))) is None:
                unknown.append(engine.id)
            else:
                engines += made
        problems += _collisions(name, engines)
        nodes[name] = replace(node, engines=tuple(sorted(engines, key=lambda engine: engine.id.engine)))
    if problems:
        raise WorkspaceError(*problems)
    return (Fleet(fleet.name, nodes), tuple(unknown)) if nodes != fleet.nodes else (fleet, tuple(unknown))


def instances_of(total_bytes: int, asked: int | Literal["auto"]) -> int:
    """How many engines a card of this size gets."""
    if asked != "auto":
        return asked
    size = round(total_bytes / GIB)
    return next((count for below, count in _SIZES if size < below), _MOST)


def _is_template(engine: EngineSpec) -> bool:
    return engine.owned is not None and engine.owned.instances is not None


def _instances(engine: EngineSpec, node: NodeSpec, cards: Sequence[CardFacts] | None) -> list[EngineSpec] | None:
    owned = engine.owned
    assert owned is not None
    assert owned.instances is not None
    if cards is None:
        return None
    made: list[EngineSpec] = []
    for card in cards:
        if not card.is_named_in(engine.gpus):
            continue
        if card.total_bytes is None and owned.instances == "auto":
            return None
        count = instances_of(card.total_bytes or 0, owned.instances)
        for number in range(1, count + 1):
            mark = _NO_MARK.sub("-", str(card.index)) if count == 1 else f"{_NO_MARK.sub('-', str(card.index))}-{number}"
            port = owned.port + len(made)
            at = EngineId(engine.id.node, f"{engine.id.engine}-{mark}")
            one = replace(owned, port=port, instances=None)
            made.append(replace(engine, id=at, url=url_of(node.address, port), gpus=(card.index,), owned=one))
    return made


def _collisions(node: str, engines: Sequence[EngineSpec]) -> list[Problem]:
    """Names and ports that two engines of a node would have. An engine of somebody else's at another address is in nobody's way."""
    found = []
    names: dict[str, EngineSpec] = {}
    ports: dict[int | None, EngineSpec] = {}
    hosts = {urlsplit(engine.url).hostname for engine in engines if engine.owned is not None}
    for engine in engines:
        if names.setdefault(engine.id.engine, engine) is not engine:
            what = f"two engines would be called {engine.id.engine!r}, one of them an instance"
            found.append(Problem(what, Place(node), "give one of them another name"))
        if engine.owned is not None and engine.owned.port > 65535:
            found.append(Problem(f"engine {engine.id.engine!r} would have port {engine.owned.port}", Place(node), "write a lower `port:`"))
            continue
        url = urlsplit(engine.url)
        if url.hostname not in hosts:
            continue
        if (first := ports.setdefault(url.port, engine)) is not engine:
            what = f"engines {first.id.engine!r} and {engine.id.engine!r} would have the same port, {url.port}"
            found.append(Problem(what, Place(node), "instances take the ports from `port` on, one after the other: write another `port:`"))
    return found
