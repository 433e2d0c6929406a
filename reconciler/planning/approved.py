"""What `apply FILE` carries out once a saved plan was found to stand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from reconciler.fleet import Desired, EngineId, EngineKind, Fleet, ModelSpec, parse_replica_address
from reconciler.planning.plan import Plan


def as_approved(saved: Plan, fresh: Plan, fleet: Fleet, desired: Desired) -> Plan:
    """The saved steps over the facts of now: what `apply FILE` carries out when the plan still stands.

    Cards, what is forgotten and what befell replicas are those of now; of the places only such are kept that these files ask for.
    """
    models = {model.name: model for model in desired.models}
    kinds: Mapping[EngineId, EngineKind] = {engine.id: engine.kind for node in fleet.nodes.values() for engine in node.engines}
    by_step = {step.address for step in saved.steps}
    placed = {address: name for address, name in saved.placed.items() if address in fresh.placed or address in by_step}
    placed = {address: name for address, name in placed.items() if _asked_for(address, name, models, kinds)}
    forgotten = tuple(address for address in fresh.forgotten if address not in placed)
    return replace(
        saved,
        placed=placed,
        charges=fresh.charges,
        gpus=fresh.gpus,
        forgotten=forgotten,
        incidents=fresh.incidents,
        deferred=fresh.deferred,
        drift=fresh.drift,
    )


def _asked_for(address: str, name: str, models: Mapping[str, ModelSpec], kinds: Mapping[EngineId, EngineKind]) -> bool:
    model_name, at = parse_replica_address(address)
    model, kind = models.get(model_name), kinds.get(at)
    return (
        model is not None
        and kind is not None
        and at.node in model.nodes
        and any(one.engine_name(kind) == name for one in model.alternatives())
    )
