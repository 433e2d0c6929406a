"""Which weights the wanted names stand for today, as the engines tell: what a lock file holds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping

from reconciler.fleet import Desired, EngineId, Fleet, FleetFacts, ModelSpec, weights_digest
from reconciler.value_class import value_class


@value_class
class Differing:
    """Two engines that have other weights of one model."""

    model: str
    first: EngineId
    first_digest: str
    second: EngineId
    second_digest: str


@value_class
class Pins:
    """`digests` by model. `untold`: models of which no engine that was asked tells the weights. `unreachable`: engines that may hold one
    of the models and could not be asked."""

    digests: Mapping[str, str]
    differing: tuple[Differing, ...]
    untold: tuple[str, ...]
    unreachable: tuple[EngineId, ...]


def find_pins(fleet: Fleet, desired: Desired, facts: FleetFacts, only: Collection[str] = ()) -> Pins:
    """The weights of every model (of `only` these, when given) on every engine where it may be."""
    digests: dict[str, str] = {}
    differing, untold = [], []
    unreachable: set[EngineId] = set()
    for model in sorted(desired.wanted, key=lambda model: model.name):
        if model.variants or (only and model.name not in only):
            continue
        places = _told(fleet, model, facts, unreachable)
        if not places:
            untold.append(model.name)
            continue
        (first, at), *others = sorted((digest, min(engines)) for digest, engines in places.items())
        if others:
            differing.append(Differing(model.name, at, first, others[0][1], others[0][0]))
        else:
            digests[model.name] = first
    return Pins(digests, tuple(differing), tuple(untold), tuple(sorted(unreachable)))


def _told(fleet: Fleet, model: ModelSpec, facts: FleetFacts, unreachable: set[EngineId]) -> Mapping[str, list[EngineId]]:
    """Engines by the digest that they tell of this model."""
    places: dict[str, list[EngineId]] = defaultdict(list)
    for node in model.nodes:
        for engine in fleet.nodes[node].engines:
            if model.engine not in (None, engine.kind):
                continue
            seen = facts.engine(engine.id)
            if seen is None or not seen.reachable:
                unreachable |= {engine.id} if seen is None or seen.silent else set()
                continue
            names = (model.engine_name(engine.kind), model.base_name(engine.kind))
            found = {one.name: one.blob for one in seen.installed or () if one.name in names and one.blob is not None}
            blob = next((found[name] for name in names if name in found), None)
            if blob is not None:
                places[weights_digest(blob)].append(engine.id)
    return places
