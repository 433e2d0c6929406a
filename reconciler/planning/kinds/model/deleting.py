"""`ensure: absent`: what is to be on no disk is deleted, on every engine of its nodes that has it. Nothing else in a plan deletes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence, Set

from reconciler.fleet import Applied, Desired, EngineId, EngineKind, Fleet, FleetFacts, ModelSpec, context_tag, replica_address
from reconciler.placement import EngineState, Occupant, Placement
from reconciler.planning.kinds.model.change import Change
from reconciler.planning.kinds.model.changes import Changes
from reconciler.planning.plan import Action, Cause, Note, Reason


def add_deletions(changes: Changes, placement: Placement, desired: Desired, applied: Applied) -> list[Note]:
    """Adds a step for each engine where a model is installed that is to be absent, after the unload of what is resident of it. Answers what
    cannot be deleted, with the reason."""
    notes: list[Note] = []
    if not desired.absent:
        return notes
    ended = _ended(changes)
    serving = _in_use(placement, ended)
    ends: dict[tuple[EngineState, str], list[Change]] = defaultdict(list)
    for found, change in ended.items():
        for name in {found.resident.name, *found.slot.identity.names(found.resident)}:
            ends[found.slot, name].append(change)
    for model in desired.absent:
        for node in model.nodes:
            for slot in placement.board.by_node.get(node, ()):
                if model.engine in (None, slot.kind) and slot.reachable and slot.selected:
                    notes.extend(_delete(changes, model, slot, applied, serving, ends))
    return notes


def _in_use(placement: Placement, ended: Mapping[Occupant, Change]) -> set[tuple[EngineState, str]]:
    """The names on each engine that serve something once the plan is done: those by which what is to be there is asked for, and those that
    what stays as it is runs under."""
    used: set[tuple[EngineState, str]] = set()
    for target in placement.targets:
        model, slot = target.model, target.slot
        used |= {(slot, model.engine_name(slot.kind)), (slot, model.base_name(slot.kind))}
        if target.found is not None and target.found not in ended:
            used.add((slot, target.found.resident.name))
    return used | {(found.slot, found.resident.name) for found in placement.unwanted if found not in ended}


def _ended(changes: Changes) -> Mapping[Occupant, Change]:
    """What does not run on as it is, with the change that ends it."""
    reloads = {target.found: change for target, change in changes.wanted.items() if change.action is Action.RELOAD}
    return {**changes.unloads, **{found: change for found, change in reloads.items() if found is not None}}


def names_on_disk(slot: EngineState, model: ModelSpec, applied: Applied) -> tuple[str, ...]:
    """What is installed of a model: the derived tags that gpurec made there for it, of earlier contexts too, and its own name; the tag in
    use first, the model's own name last."""
    base = model.base_name(slot.kind)
    row = applied.replicas.get(replica_address(model.name, slot.id))
    tag = context_tag(base, row.context) if row is not None and row.context is not None else None
    earlier = sorted(one for one, made_from in applied.tags.get(slot.id, {}).items() if made_from == base and one != tag)
    used = [tag] if tag is not None and row is not None and row.engine_name == tag else []
    return tuple(name for name in dict.fromkeys((*used, *earlier, base)) if slot.installed(name) is not None)


def unused_tags(fleet: Fleet, desired: Desired, facts: FleetFacts, applied: Applied) -> Mapping[EngineId, tuple[str, ...]]:
    """The derived tags of ours that are installed and that no owned replica and no wanted model uses: a changed context leaves them, since
    only `ensure: absent` deletes. They hold no weights of their own."""
    used = {(row.at, row.engine_name) for row in applied.replicas.values()}
    wanted = {one.engine_name(EngineKind.OLLAMA) for model in desired.wanted for one in model.alternatives()}
    found: dict[EngineId, tuple[str, ...]] = {}
    for engine in sorted((engine.id for node in fleet.nodes.values() for engine in node.engines), key=str):
        seen = facts.engine(engine)
        there = {one.name for one in (seen.installed if seen is not None else None) or ()}
        names = tuple(
            sorted(tag for tag in applied.tags.get(engine, {}) if tag in there and tag not in wanted and (engine, tag) not in used)
        )
        if names:
            found[engine] = names
    return found


def _delete(
    changes: Changes,
    model: ModelSpec,
    slot: EngineState,
    applied: Applied,
    serving: Set[tuple[EngineState, str]],
    ends: Mapping[tuple[EngineState, str], Sequence[Change]],
) -> list[Note]:
    names = names_on_disk(slot, model, applied)
    if not names:
        return []
    address = replica_address(model.name, slot.id)
    if slot.kind is not EngineKind.OLLAMA:
        return [Note(address, "cannot_delete", f"is installed, and {slot.kind} deletes nothing: remove its file yourself")]
    if any((slot, name) in serving for name in names):
        message = "stays on disk as long as it is resident: another wanted name is served by it, or it may not be unloaded"
        return [Note(address, "in_use", message)]
    base = model.base_name(slot.kind)
    earlier = " ".join(name for name in names[1:] if name != base)
    change = Change(
        Action.REMOVE,
        address,
        model.name,
        slot,
        names[0],
        base,
        Reason("absent", f"is deleted from disk: {' and '.join(names)}"),
        Cause.PENDING,
        model.priority,
        before={"installed": True},
        after={"installed": False, "tags": earlier} if earlier else {"installed": False},
    )
    change.needs.extend(one for name in names for one in ends.get((slot, name), ()))
    changes.every.append(change)
    if not change.needs:
        changes.pending += 1
    return []
