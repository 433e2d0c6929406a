"""Which residents stay and which are released."""

from __future__ import annotations

from collections.abc import Sequence, Set

from reconciler.capacity import EngineState
from reconciler.fleet import Each, EngineKind, Ensure, ModelSpec, Unmanaged
from reconciler.fleet.matching import CONTEXT, FRACTION, is_wrong, settable
from reconciler.placement.fit import Fit, hold_runner, room_for, take
from reconciler.placement.residents import Occupant, need_on
from reconciler.placement.result import Target
from reconciler.placement.search_state import Placing


def keep(placing: Placing, model: ModelSpec) -> None:
    """Keeps replicas that are there, up to the number wanted: ours first, then those on engines that cannot be asked, then strangers'."""
    refused = placing.class_of(model).refused
    here: dict[EngineState, Occupant] = {}
    for found in placing.found_of[model.name]:
        best = here.get(found.slot)
        if found.slot in placing.at[model.name]:
            continue
        if found.slot not in refused and (best is None or _better(placing, model, found, best)):
            here[found.slot] = found
    rows, groups = placing.rows_of[model.name], placing.groups_of.get(model.name)
    owned = set(rows)
    away = {slot for slot in rows if (model.name, slot.id) in placing.held.away and slot not in here}
    asleep = [slot for slot in rows if _sleeps(model, slot, away) and slot not in placing.at[model.name]]
    if groups is not None:
        ours_first = sorted(groups, key=lambda group: not any(slot in owned for slot in group)) if model.spread_hard else groups
        for group in ours_first:
            if any(slot in placing.at[model.name] for slot in group):
                continue
            there = [slot for slot in group if (slot in here or slot in asleep) and not placing.breaks_spread(model, slot)]
            for slot in sorted(there, key=lambda slot: (slot not in owned, slot not in here, slot.id)):
                if keep_at(placing, model, slot, here):
                    break
        return
    ordered = sorted(here, key=lambda slot: (slot not in owned, slot.selected, not _right(model, here[slot]), slot.id))
    last_owned = sum(slot in owned for slot in ordered)
    ordered[last_owned:last_owned] = [slot for slot in asleep if slot not in here]
    for slot in ordered[:]:
        if len(placing.at[model.name]) >= (model.replicas or 0):
            break
        if not placing.breaks_spread(model, slot):
            keep_at(placing, model, slot, here)


def _sleeps(model: ModelSpec, slot: EngineState, away: Set[EngineState]) -> bool:
    """Whether a replica counts as there though nobody can look: not on an engine that is lost, unless it must never be moved."""
    if not slot.reachable and slot.lost and slot.selected:
        return model.protect or model.each is not None
    return not slot.reachable or not slot.selected or slot in away


def keep_at(placing: Placing, model: ModelSpec, slot: EngineState, here: dict[EngineState, Occupant]) -> bool:
    """Whether it stays there, as it is or loaded anew in its place."""
    found = here.get(slot)
    before = placing.as_applied(model, slot) or placing.alternatives[model.name][0]
    model = found.as_model(model) if found is not None else before
    need = need_on(slot, model, placing.applied)
    if found is not None and slot.runner(model) in slot.runners:
        if slot.selected:
            placing.try_at(model, slot)
        else:
            placing.note(Target(model, slot, need, deferred=True, shares=True))
        return slot in placing.at[model.name]
    if found is not None and placing.is_taken(found):
        return False
    if found is not None and placing.has_left(found) and not placing.come_back(found):
        return False
    if found is None:
        held = slot.reachable and slot.selected
        placing.note(Target(model, slot, need, deferred=not held, held=held))
        return True
    if not slot.selected:
        placing.note(Target(model, slot, need, found, found, deferred=True))
        hold_runner(placing.board, model, found)
        return True
    kept_with = placing.held.as_is.get((model.name, slot.id), frozenset())
    right = _right(model, found) or ("context_differs" in kept_with and model.other_context(found.resident.context))
    if found.protected or (right and ("cpu_fallback" in kept_with or _on_asked_device(model, found))):
        placing.note(Target(model, slot, need, found, found))
        hold_runner(placing.board, model, found)
        return True
    placing.board.remove(found)
    room = room_for(slot, model, placing.applied)
    if isinstance(room, Fit):
        holding = take(placing.board, slot, model, room, placing.applied)
        placing.note(Target(model, slot, room.need, holding, found, shares=room.shares))
    else:
        placing.board.put(found)
        if room == "need_unknown":
            placing.note(Target(model, slot, need, found, found))
        else:
            placing.not_right[slot][model.name] = found
    return slot in placing.at[model.name]


def release_leaving(placing: Placing, every: Sequence[Occupant]) -> bool:
    """Gives back the room of residents that will be unloaded: ours that nobody wants any more, and strangers where the policy says so.

    One that is still the only replica of a wanted model stays charged until that has its place.
    """
    kept = {target.found for targets in placing.at.values() for target in targets.values()}
    gone = False
    for found in every:
        if found in placing.result.released or found in kept or found in placing.result.displaced or not leaves(placing, found):
            continue
        placing.board.remove(found)
        placing.leave(found, placing.result.released)
        gone = True
    if gone:
        placing.freed()
    return gone


def let_yield(placing: Placing, every: Sequence[Occupant]) -> None:
    """Strangers with a finite keep-alive that no target uses, where the policy lets them be evicted."""
    if placing.desired.policy.unmanaged is not Unmanaged.YIELD:
        return
    kept = {target.found for targets in placing.at.values() for target in targets.values()}
    for found in every:
        if found not in kept and found.yields and not placing.has_left(found):
            placing.yielding[found.slot].append(found)


def leaves(placing: Placing, found: Occupant) -> bool:
    slot, model = found.slot, found.model
    if found.protected or found.left_over or not slot.selected or (slot.facts is not None and slot.facts.mode == "single"):
        return False
    if model is None:
        return found.owned is not None or found.absent or placing.desired.policy.unmanaged is Unmanaged.UNLOAD
    if found.owned is None:
        return False
    if model.ensure is Ensure.PRESENT:
        return found.held_by_us
    if model.each is not None:
        if slot not in placing.serves(model):
            return True
        return model.each is Each.NODE and any(other.id.node == slot.id.node for other in placing.at[model.name])
    return len(placing.at[model.name]) >= (model.replicas or 0)


def _right(model: ModelSpec, found: Occupant) -> bool:
    """Whether the resident is what is wanted, as far as it can be seen, apart from where it sits: then it needs no second space."""
    context = found.resident.context
    can_change = found.slot.kind is EngineKind.OLLAMA
    before = found.owned.context if found.owned is not None else None
    if CONTEXT in settable(model, found.slot.kind) and (_wrong(CONTEXT, model, found) or model.dropped_context(before, context)):
        return False
    return found.owned is None or dict(found.owned.options) == dict(model.options) or not can_change


def _on_asked_device(model: ModelSpec, found: Occupant) -> bool:
    """Whether the resident sits where it should: wholly (or enough) on cards, or on the CPU. Unknown counts as right."""
    return not _wrong(FRACTION, model, found)


def _wrong(field: str, model: ModelSpec, found: Occupant) -> bool:
    return is_wrong(field, model, found.resident, bool(found.slot.cards))


def _better(placing: Placing, model: ModelSpec, found: Occupant, other: Occupant) -> bool:
    """Of two residents of one model on one engine one that has not left for somebody else, then as preferred."""
    return (placing.has_left(found), *_preference(model, found)) < (placing.has_left(other), *_preference(model, other))


def _preference(model: ModelSpec, found: Occupant) -> tuple[bool, int, bool, str]:
    """Of two residents of one model on one engine: of its variants ours first, then the better one; then the one by its very name."""
    one = found.as_model(model)
    place = next((number for number, variant in enumerate(model.variants) if variant.name == one.variant), 0)
    return bool(model.variants) and found.owned is None, place, found.resident.name != one.engine_name(found.slot.kind), found.resident.name
