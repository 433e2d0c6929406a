"""What a run leaves in the state: a row for every wanted replica that is really there as asked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import replace

from reconciler.execution.lookup import find_installed, find_resident, is_there
from reconciler.fleet import (
    NO_LIMITS,
    Applied,
    AppliedReplica,
    CardCharges,
    Desired,
    EngineFacts,
    EngineId,
    EngineKind,
    EngineSpec,
    Ensure,
    Fleet,
    FleetFacts,
    MeasuredKey,
    ModelSpec,
    Resident,
    parse_replica_address,
)
from reconciler.fleet.matching import wanted_resident
from reconciler.placement import set_up
from reconciler.planning import Plan


class ReplicaPlaces:
    """Engines and models by name, disks, and whether an engine has cards: what is needed of the fleet, without scans."""

    def __init__(self, fleet: Fleet, desired: Desired, facts: FleetFacts) -> None:
        self._fleet, self._facts = fleet, facts
        self.desired, self.nodes = desired, fleet.nodes.keys()
        self.models = {model.name: model for model in desired.models}
        self.engines: dict[EngineId, EngineSpec] = {engine.id: engine for node in fleet.nodes.values() for engine in node.engines}

    def disk_of(self, at: EngineId) -> tuple[int | None, Sequence[EngineId]]:
        """The bytes of the disk that an engine's models are on, where they are declared, and the other engines that fill it."""
        node = self._fleet.nodes.get(at.node)
        if node is None or node.disk is None:
            return None, ()
        return node.disk, [one.id for one in node.engines if one.id != at and one.kind is EngineKind.OLLAMA]

    def measured_key(self, model: str, engine_name: str, now: EngineFacts, applied: Applied) -> MeasuredKey | None:
        """What a load on this engine, as it is `now`, is measured under; None where nothing can be."""
        at, wanted = now.id, self.models.get(model)
        node, seen = self._fleet.nodes.get(at.node), self._facts.nodes.get(at.node)
        one = wanted.called(now.kind, engine_name, wanted.context) if wanted is not None else None
        if node is None or seen is None or one is None:
            return None
        facts = replace(seen, engines={**seen.engines, at.engine: now})
        board = set_up(Fleet(self._fleet.name, {at.node: node}), FleetFacts(self._facts.at, {at.node: facts}), NO_LIMITS)
        return board.slots[at].knowledge.key(board.slots[at], one, applied)

    def has_cards(self, at: EngineId) -> bool:
        """Whether a model on this engine can be on a card; an engine of which that is not known has none that could be judged by."""
        spec, node = self.engines[at], self._fleet.nodes[at.node]
        if spec.gpus is not None and not spec.gpus:
            return False
        if node.gpus is not None:
            return bool(node.gpus)
        seen = self._facts.nodes.get(at.node)
        return seen is not None and bool(seen.cards)


def replica_row(
    model: ModelSpec,
    at: EngineId,
    address: str,
    engine_name: str,
    resident: Resident | None,
    planned_bytes: int | None = None,
    charges: CardCharges | None = None,
) -> AppliedReplica:
    """The row of a replica as asked, with what was observed; `resident` None for one that only has to be installed.

    An engine that reports no bytes (a llama.cpp router) is charged with those that the plan gave it, also when the model is wanted no more.
    `charges` are the cards that the plan charged, whatever the engine reports.
    """
    fraction = resident.gpu_fraction if resident is not None else None
    return AppliedReplica(
        address=address,
        model=model.name,
        at=at,
        engine_name=engine_name,
        ensure=model.ensure.value,
        context=model.context,
        options=dict(model.options),
        keep_alive=model.keep_alive,
        residency=model.residency.value,
        observed_context=resident.context if resident is not None else None,
        observed_gpu_fraction=fraction,
        observed_pinned=resident.pinned if resident is not None else None,
        vram_bytes=None if resident is None else resident.vram_bytes if resident.vram_bytes is not None else planned_bytes,
        protect=model.protect,
        charges=charges if resident is not None else None,
    )


def charged(plan: Plan, address: str, before: AppliedReplica | None) -> CardCharges | None:
    """What a replica is charged with: what the plan says, which says it only where the row of `before` does not yet."""
    return plan.charges.get(address, before.charges if before is not None else None)


def as_asked(
    places: ReplicaPlaces, address: str, engine_name: str, facts: EngineFacts | None, charges: CardCharges | None = None
) -> AppliedReplica | None:
    """The row of one replica by what its engine shows; None when it is not there, not as asked, or unknown."""
    name, at = parse_replica_address(address)
    model, spec = places.models.get(name), places.engines.get(at)
    if model is None or spec is None or facts is None or not facts.reachable:
        return None
    resident = find_resident(facts, engine_name)
    if model.ensure is Ensure.PRESENT:
        there = facts.installed is None or find_installed(facts, engine_name) is not None
        return replica_row(model, at, address, engine_name, None) if there else None
    if resident is None or not is_there(resident):
        return None
    if wanted_resident(model, spec.kind, engine_name, places.has_cards(at)).mismatch(resident) is not None:
        return None
    return replica_row(model, at, address, engine_name, resident, charges=charges)


def rows_as_found(
    plan: Plan, places: ReplicaPlaces, facts: Mapping[EngineId, EngineFacts | None], applied: Applied, stepped: Mapping[str, bool]
) -> Iterator[AppliedReplica]:
    """Every placed replica that is really there as asked. `stepped` has the addresses of the plan's steps, True where all succeeded.

    One whose step did not succeed keeps its row of before: what was asked of it is still to be done. One without a step is recorded only
    when it is owned already (a replica outside `--limit` is not adopted by the way), and not when runner options wait to be changed.
    """
    for address, engine_name in plan.placed.items():
        succeeded = stepped.get(address)
        if succeeded is False:
            continue
        _, at = parse_replica_address(address)
        before = applied.replicas.get(address)
        row = as_asked(places, address, engine_name, facts.get(at), charged(plan, address, before))
        if row is None:
            continue
        if row.vram_bytes is None and before is not None:
            row = replace(row, vram_bytes=before.vram_bytes)
        if succeeded is None:
            ollama = places.engines[at].kind is EngineKind.OLLAMA
            if before is None or before.engine_name != row.engine_name or (ollama and _waits_to_change(before, row)):
                continue
        yield row


def _waits_to_change(before: AppliedReplica, row: AppliedReplica) -> bool:
    """Whether what is asked now was not done: other runner options, or a context that is left to the engine and still runs."""
    dropped = row.context is None and before.context is not None and before.context == row.observed_context
    return dict(before.options) != dict(row.options) or dropped


def was_unloaded(row: AppliedReplica | None, engine_name: str, facts: EngineFacts | None) -> bool:
    """Whether an unload of `engine_name` was that of a row, as the engine shows it after: not where the row is of something else, which is
    still there (a model that left the files beside a variant of it)."""
    return row is None or row.engine_name == engine_name or facts is None or find_resident(facts, row.engine_name) is None


def addresses_to_forget(plan: Plan, unloaded: Set[str]) -> list[str]:
    """Addresses that the state no longer owns: those that the plan found gone, and those unloaded and not wanted."""
    return sorted({*plan.forgotten, *(address for address in unloaded if address not in plan.placed)})
