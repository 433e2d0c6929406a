"""How a fleet stands: every wanted replica with what is so and what is still to be done. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from reconciler.fleet import Applied, FleetFacts, Resident, parse_replica_address
from reconciler.planning import Plan
from reconciler.planning.kinds.model.hours import OUTSIDE_HOURS
from reconciler.planning.kinds.model.step import model_steps
from reconciler.planning.plan import FETCHES, WAITS_FOR_UNREACHABLE, Action
from reconciler.value_class import value_class

NOTHING_FAILED: Mapping[str, str] = MappingProxyType({})


@value_class
class ReplicaStatus:
    """One replica. `detail` says why it stands as it does.

    `standing` is `running` (as wanted), `installed` (as wanted, and in memory on demand only), `changing` (the plan has a step for it),
    `held` (not as wanted, and left alone for now), `leaving`,
    `unplaced`, `resting` (its hours are not now), `unknown` (its engine cannot be asked) or `unmanaged` (nobody here
    asked for it). `failed` is why its last load failed, while it is not there as wanted. Bytes are those that the plan counts for it.
    """

    address: str
    standing: str
    detail: str = ""
    vram_bytes: int | None = None
    context: int | None = None
    pinned: bool | None = None
    owned: bool = False
    failed: str = ""


def replicas_of(plan: Plan, facts: FleetFacts, applied: Applied, failed: Mapping[str, str] = NOTHING_FAILED) -> tuple[ReplicaStatus, ...]:
    """Every replica that is wanted, owned, or there, in address order; those without a place last. `failed` says by address why the last
    load failed, where none has succeeded since."""
    residents = _residents(facts)
    engines = [engine for node in facts.nodes.values() for engine in node.engines.values()]
    silent = {str(engine.id) for engine in facts.silent}
    tell = {str(engine.id) for engine in engines if engine.residents is not None}
    steps = {step.address: step for step in model_steps(plan.steps) if step.action not in FETCHES}
    held = {note.address: note.message for note in plan.held}
    found: dict[str, ReplicaStatus] = {}
    for address in sorted({*plan.placed, *applied.replicas, *steps}):
        at = str(parse_replica_address(address)[1])
        row = applied.replicas.get(address)
        name = plan.placed.get(address) or (row.engine_name if row is not None else None) or parse_replica_address(address)[0]
        counted = plan.residents.get(address)
        seen = residents.get((at, counted.name if counted is not None else name)) or (
            residents.get((at, row.engine_name)) if row is not None else None
        )
        step = steps.get(address)
        if at in silent:
            standing, detail = "unknown", "its engine cannot be asked"
        elif step is not None and step.action is Action.UNLOAD:
            standing, detail = "leaving", step.reason.message
        elif step is not None and step.action is not Action.ADOPT:
            standing, detail = "changing", f"{step.action.value}: {step.reason.message}"
        elif address in held:
            standing, detail = "held", held[address]
        elif address in plan.placed:
            standing = "installed" if counted is None and seen is None and at in tell else "running"
            detail = "" if row is not None or step is None else "to be adopted"
        else:
            continue
        found[address] = ReplicaStatus(
            address,
            standing,
            detail,
            counted.vram_bytes if counted is not None else seen.vram_bytes if seen is not None else None,
            seen.context if seen is not None else None,
            seen.pinned if seen is not None else None,
            row is not None,
            failed.get(address, "") if standing not in ("running", "installed", "leaving") else "",
        )
    for one in plan.unmanaged:
        address = f"model.{one.name}@{one.node}/{one.engine}"
        found.setdefault(address, ReplicaStatus(address, "unmanaged", "nobody here asked for it", one.vram_bytes, pinned=one.pinned))
    by_model = {parse_replica_address(address)[0]: why for address, why in sorted(failed.items()) if address not in found}
    homeless = [
        ReplicaStatus(
            f"model.{one.model}",
            "unplaced",
            f"{one.count} without a place: {_why(one.candidate_counts)}",
            failed=by_model.get(one.model, ""),
        )
        for one in plan.unplaced
        if one.agent is None
    ]
    homeless += [ReplicaStatus(note.address, "unknown", note.message) for note in plan.notes if note.code == WAITS_FOR_UNREACHABLE]
    homeless += [ReplicaStatus(note.address, "resting", note.message) for note in plan.notes if note.code == OUTSIDE_HOURS]
    return (*(found[address] for address in sorted(found)), *homeless)


def _residents(facts: FleetFacts) -> Mapping[tuple[str, str], Resident]:
    return {
        (str(engine.id), resident.name): resident
        for node in facts.nodes.values()
        for engine in node.engines.values()
        for resident in engine.residents or ()
    }


def _why(counts: Mapping[str, int]) -> str:
    most = sorted(counts.items(), key=lambda one: (-one[1], one[0]))[:3]
    return ", ".join(f"{reason} on {count}" for reason, count in most) or "no candidate"
