"""Small worlds that are carried out: every name is installed everywhere, m4 and m5 on the same weights; and what is asked of them."""

from __future__ import annotations

from dataclasses import replace

from fleets import GIB, actions, applied, facts, node
from wide_fleets import World, apply_all

from reconciler.fleet import EngineId
from reconciler.planning import first_stale_step

TWINS = {"m4:1": "sha256:twins", "m5:1": "sha256:twins"}
NAMES = [f"m{n}:1" for n in range(6)]


def world(of, want, residents=None, rows=(), selected=None, sizes=None) -> World:
    """Every name is installed everywhere, m4 and m5 on the same weights; `sizes` in GiB by name."""
    blobs = {name: TWINS.get(name, f"sha256:{name}") for name in NAMES}
    told = {name: [replace(one, blob=blobs.get(one.name)) for one in there] for name, there in (residents or {}).items()}
    seen = facts(of, told, NAMES, blobs=blobs)
    bytes_of = {name: (sizes or {}).get(name, 1) * GIB for name in NAMES}
    return World(of, want, seen, applied(*rows), bytes_of, selected)


def two_engines(name: str, *cards: int):
    """A node with the engines `ollama` and `other` on the same cards."""
    one = node(name, *cards)
    return replace(one, engines=(*one.engines, replace(one.engines[0], id=EngineId(name, "other"), url=f"http://{name}:2")))


def on_other(seen, name: str, *residents):
    """The facts with these residents on the second engine of a node."""
    there = seen.nodes[name]
    blobs = {each.name: each.blob for each in there.engines["other"].installed}
    told = tuple(replace(one, blob=blobs[one.name]) for one in residents)
    engines = {**there.engines, "other": replace(there.engines["other"], residents=told)}
    return replace(seen, nodes={**seen.nodes, name: replace(there, engines=engines)})


def without(here, at, name):
    """The world in which the engine of a node does not have a model on its disk."""
    there = here.facts.nodes[at]
    engine = there.engines["ollama"]
    seen = replace(engine, installed=tuple(one for one in engine.installed if one.name != name))
    return replace(here, facts=replace(here.facts, nodes={**here.facts.nodes, at: replace(there, engines={"ollama": seen})}))


def settles(one: World) -> list[str]:
    """The steps of the plan after a complete apply."""
    return actions(apply_all(one).plan())


def stands(one: World) -> bool:
    return first_stale_step(one.plan(), one.fleet, one.desired, one.facts, one.applied, one.selected) is None
