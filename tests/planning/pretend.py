"""A perfect world: carries a plan's steps out on facts, as values. What the plan after it says is then a property of planning alone."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import replace

from fleets import applied

from reconciler.fleet import (
    Applied,
    AppliedReplica,
    EngineFacts,
    FleetFacts,
    Installed,
    NodeFacts,
    Resident,
    parse_replica_address,
)
from reconciler.planning import FETCHES, Action, ModelStep, Plan

_LOADS = (Action.LOAD, Action.RELOAD)


def carry_out(plan: Plan, facts: FleetFacts, before: Applied, blobs: Mapping[str, str] | None = None) -> tuple[FleetFacts, Applied]:
    """Facts and state after every step worked. `blobs` has the weights of what is pulled, by name."""
    for step in plan.steps:
        facts = do(step, facts, blobs)
    rows: dict[str, AppliedReplica] = {}
    for address, engine_name in plan.placed.items():
        name, at = parse_replica_address(address)
        engine = facts.engine(at)
        if engine is None or not engine.reachable:
            if address in before.replicas:
                rows[address] = before.replicas[address]
            continue
        resident = _resident(engine, engine_name)
        old = before.replicas.get(address)
        step = next((s for s in plan.steps if s.address == address and s.action not in FETCHES), None)
        on_demand = bool(step.after.get("installed")) if step is not None else old is not None and old.ensure == "present"
        context = step.after.get("context") if step is not None else (old.context if old else None)
        rows[address] = AppliedReplica(
            address,
            name,
            at,
            engine_name,
            "loaded" if resident is not None and not on_demand else "present",
            context if isinstance(context, int) else None,
            keep_alive=-1.0 if resident is not None else None,
            observed_context=resident.context if resident else None,
            observed_gpu_fraction=resident.gpu_fraction if resident else None,
            observed_pinned=resident.pinned if resident else None,
            protect=old is not None and old.protect,
        )
    return facts, applied(*rows.values())


def _resident(engine: EngineFacts, name: str) -> Resident | None:
    """By name, else by the weights that the name stands for: names on one runner are one resident."""
    by_name = next((r for r in engine.residents or () if r.name == name), None)
    blob = _blob(engine, name)
    return by_name or next((r for r in engine.residents or () if blob is not None and r.blob == blob), None)


def _blob(engine: EngineFacts, name: str) -> str | None:
    return next((installed.blob for installed in engine.installed or () if installed.name == name), None)


def do(step: ModelStep, facts: FleetFacts, blobs: Mapping[str, str] | None = None) -> FleetFacts:
    node = facts.nodes[step.node]
    engine = node.engines[step.engine]
    residents = tuple(resident for resident in engine.residents or ())
    installed = tuple(engine.installed or ())
    if step.action in FETCHES and all(model.name != step.engine_name for model in installed):
        installed = (*installed, Installed(step.engine_name, 1, blob=(blobs or {}).get(step.engine_name)))
    if step.action is Action.REMOVE:
        installed = tuple(model for model in installed if model.name not in (step.engine_name, step.base_name))
    if step.action is Action.UPDATE:
        updated = _resident(engine, step.engine_name)
        residents = tuple(replace(r, pinned=True) if r is updated else r for r in residents)
    if step.action in (Action.UNLOAD, *_LOADS):
        residents = tuple(resident for resident in residents if resident.name != step.engine_name)
        if step.action is Action.RELOAD:
            old = _resident(engine, step.engine_name)
            residents = tuple(resident for resident in residents if resident.name != step.base_name and resident is not old)
    shared = _resident(replace(engine, residents=residents, installed=installed), step.engine_name)
    if step.action is Action.LOAD and shared is not None:
        residents = tuple(replace(r, pinned=True) if r is shared else r for r in residents)
    elif step.action in _LOADS:
        size = step.vram_bytes or 1
        on_card = step.gpus != () or step.gpu_candidates is not None
        context = step.after.get("context")
        residents = (
            *residents,
            Resident(
                step.engine_name,
                size_bytes=size,
                vram_bytes=size if on_card else 0,
                context=context if isinstance(context, int) else 4096,
                pinned=True,
                blob=next((model.blob for model in installed if model.name == step.engine_name), None),
            ),
        )
    return _with(facts, node, replace(engine, residents=residents, installed=installed))


def _with(facts: FleetFacts, node: NodeFacts, engine: EngineFacts) -> FleetFacts:
    changed = replace(node, engines={**node.engines, engine.id.engine: engine})
    return FleetFacts(facts.at, {**facts.nodes, node.node: changed})


def some_order(plan: Plan, seed: int) -> list[ModelStep]:
    """One of the orders that `needs` allows, by seed."""
    chance = random.Random(seed)
    done: set[str] = set()
    left = list(plan.steps)
    result = []
    while left:
        ready = [step for step in left if set(step.needs) <= done]
        step = chance.choice(ready)
        left.remove(step)
        done.add(step.id)
        result.append(step)
    return result
