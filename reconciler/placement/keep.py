"""Which residents stay and which are released."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence

from reconciler.capacity import EngineState, total
from reconciler.fleet import Each, Ensure, ModelSpec, Residency, Unmanaged
from reconciler.fleet.matching import Loaded
from reconciler.placement.company import NEVER_WITH, WITH
from reconciler.placement.fit import Fit, room_for, take
from reconciler.placement.residents import Occupant, need_on
from reconciler.placement.result import Target
from reconciler.placement.search_state import Placing


def keep(placing: Placing, model: ModelSpec, of_others: bool = True) -> None:
    """Keeps replicas that are there, up to the number wanted: ours first, then those on engines that cannot be asked, then strangers'.
    Without `of_others` none that the state has for another model that wants it."""
    refused, placed = placing.class_of(model).refused, placing.at[model.name]
    here: dict[EngineState, list[Occupant]] = {}
    for found in placing.found_of[model.name]:
        if found.slot in placed or found.slot in refused:
            continue
        if (of_others or not _is_of_another(model, found)) and not _is_in_ram_for_another(model, found):
            here.setdefault(found.slot, []).append(found)
    for several in here.values():
        if len(several) > 1:
            several.sort(key=lambda found: (placing.is_taken(found), placing.has_left(found), *_preference(model, found)))
    rows, groups = placing.rows_of[model.name], placing.groups_of.get(model.name)
    owned = set(rows)
    away = {slot for slot in rows if (model.name, slot.id) in placing.held.away and slot not in here} if placing.held.away else ()
    asleep = [slot for slot in rows if _sleeps(model, slot, away) and slot not in placed]
    if groups is not None:
        ours_first = sorted(groups, key=lambda group: not any(slot in owned for slot in group)) if model.spread_hard else groups
        for group in ours_first:
            if not placed.keys().isdisjoint(group):
                continue
            there = [slot for slot in group if (slot in here or slot in asleep) and not _stands_wrong(placing, model, slot, here)]
            if len(there) > 1:
                there.sort(key=lambda slot: (slot not in owned, slot not in here, slot.id))
            for slot in there:
                if keep_at(placing, model, slot, here):
                    break
        return
    ordered = [*here]
    count = len(placed) + len(ordered) + sum(slot not in here for slot in asleep)
    if len(ordered) > 1 and (count > (model.replicas or 0) or model.spread_hard):
        ordered.sort(key=lambda slot: (slot not in owned, slot.selected, not _as_loaded(placing, model, here[slot][0])[0], slot.id))
    elif len(ordered) > 1:  # all of them stay, so that it does not matter how right each is
        ordered.sort(key=lambda slot: (slot not in owned, slot.selected, slot.id))
    last_owned = sum(slot in owned for slot in ordered)
    ordered[last_owned:last_owned] = [slot for slot in asleep if slot not in here]
    for slot in ordered[:]:
        if len(placed) >= (model.replicas or 0):
            break
        if not _stands_wrong(placing, model, slot, here):
            keep_at(placing, model, slot, here)


def _stands_wrong(placing: Placing, model: ModelSpec, slot: EngineState, here: dict[EngineState, list[Occupant]]) -> bool:
    """Whether a replica may not be there for others that are; of its residents there, those that may not stay are `here` no more."""
    if model.name not in placing.company.involved or slot not in here:
        return placing.breaks_spread(model, slot)
    here[slot] = [found for found in here[slot] if not placing.breaks_spread(model, slot, _as_it_is(placing, model, found))]
    return not here[slot]


def _as_it_is(placing: Placing, model: ModelSpec, found: Occupant) -> Occupant | None:
    """The resident, where it is not to be loaded anew: then it stays on its cards."""
    return found if found.charges and all(_as_loaded(placing, found.as_model(model), found)) else None


def _is_of_another(model: ModelSpec, found: Occupant) -> bool:
    owners = {row.model for row in found.rows}
    if model.name in owners:
        return False
    return any(one is not None and one.name in owners and one.ensure is Ensure.LOADED for one in (found.model, *found.also))


def _is_in_ram_for_another(model: ModelSpec, found: Occupant) -> bool:
    """Whether it is in RAM since another model is to be there that asks for it: a load of `model`, which does not, would make it anew."""
    if model.residency is Residency.CPU or not found.slot.cards or found.resident.gpu_fraction != 0.0:
        return False
    others = {one.name for one in (found.model, *found.also) if one is not None and one.residency is Residency.CPU}
    return any(row.model in others - {model.name} for row in found.rows)


def _sleeps(model: ModelSpec, slot: EngineState, away: Collection[EngineState]) -> bool:
    """Whether a replica counts as there though nobody can look: not on an engine that is lost, unless it must never be moved."""
    if not slot.reachable and slot.lost and slot.selected:
        return model.protect or model.each is not None
    return not slot.reachable or not slot.selected or slot in away


def keep_at(placing: Placing, model: ModelSpec, slot: EngineState, here: Mapping[EngineState, Sequence[Occupant]]) -> bool:
    """Whether it stays there, as it is or loaded anew in its place. Where it has several residents the next one is asked if the one before
    cannot stay; a stranger's only where none is ours."""
    there = here.get(slot, ())
    if not there:
        held = slot.reachable and slot.selected
        before = placing.as_applied(model, slot) or placing.alternatives[model.name][0]
        placing.note(Target(before, slot, need_on(slot, before, placing.applied), deferred=not held, held=held))
        return True
    ours = bool(there[0].rows)
    for found in there:
        if (found.rows or not ours) and _keep_found(placing, found.as_model(model), slot, found):
            return True
    for found in there:
        if not placing.is_taken(found) and not placing.has_left(found):
            placing.waits(model, found)
    return False


def come_to(placing: Placing, model: ModelSpec, slot: EngineState) -> bool:
    """Whether a replica that had another place, or none, has it there now: as what is there of it already and serves nobody, which nobody
    asked as long as there were enough others, else by a load."""
    if slot in placing.at[model.name] or placing.breaks_spread(model, slot):
        return False
    there = [found for found in placing.found_of[model.name] if found.slot is slot and not placing.is_taken(found)]
    there.sort(key=lambda found: (placing.has_left(found), *_preference(model, found)))
    return (bool(there) and keep_at(placing, model, slot, {slot: there})) or placing.try_at(model, slot)


def _keep_found(placing: Placing, model: ModelSpec, slot: EngineState, found: Occupant) -> bool:
    runner = slot.runner(model)
    if runner in slot.runners:
        if slot.selected:
            placing.try_at(model, slot)
        else:
            placing.note(Target(model, slot, need_on(slot, model, placing.applied), deferred=True, shares=True))
        return slot in placing.at[model.name]
    if placing.is_taken(found):
        return False
    if placing.has_left(found) and not placing.come_back(found):
        return False
    if slot.selected and not found.protected and not _as_it_should_be(placing, model, found):
        return _load_anew(placing, model, slot, found)
    placing.note(Target(model, slot, need_on(slot, model, placing.applied), found, found, deferred=not slot.selected))
    placing.board.hold_runner(found, runner, model)
    return True


def _as_it_should_be(placing: Placing, model: ModelSpec, found: Occupant) -> bool:
    right, on_asked_device = _as_loaded(placing, model, found)
    kept_with = placing.held.as_is.get((model.name, found.slot.id)) if placing.held.as_is else None
    if kept_with is not None:
        right = right or ("context_differs" in kept_with and model.other_context(found.resident.context))
        on_asked_device = on_asked_device or "cpu_fallback" in kept_with
    return right and on_asked_device


def _as_loaded(placing: Placing, model: ModelSpec, found: Occupant) -> tuple[bool, bool]:
    row = found.loaded_as(model)
    asked = row.asked if row is not None else None
    return placing.as_loaded[Loaded(model, found.slot.kind, bool(found.slot.cards), found.resident.view, asked)]


def _load_anew(placing: Placing, model: ModelSpec, slot: EngineState, found: Occupant) -> bool:
    placing.board.remove(found)
    room = room_for(slot, model, placing.applied)
    if isinstance(room, Fit):
        _take_anew(placing, model, found, room)
    else:
        placing.board.put(found)
        if room == "need_unknown":
            placing.note(Target(model, slot, need_on(slot, model, placing.applied), found, found))
        else:
            placing.waits(model, found)
    return slot in placing.at[model.name]


def _take_anew(placing: Placing, model: ModelSpec, found: Occupant, room: Fit) -> None:
    holding = take(placing.board, found.slot, model, room, placing.applied)
    placing.note(Target(model, found.slot, room.need, holding, found, shares=room.shares))


def load_anew_together(placing: Placing) -> None:
    """Residents of a node that are to be loaded anew, and have no room for that while the others are there as they are: as many of the most
    important change places as have room together."""
    by_node: dict[str, list[tuple[ModelSpec, Occupant]]] = defaultdict(list)
    several_of: dict[str, list[EngineState]] = defaultdict(list)
    models = {model.name: model for model in placing.models}
    for slot in sorted((slot for slot, names in placing.not_right.items() if names), key=lambda slot: slot.id):
        for name, (found, *others) in placing.not_right[slot].items():
            model, known = models[name], name not in placing.may_share and name not in placing.company.involved
            free = not others and not placing.is_taken(found) and not placing.has_left(found)
            if known and free and _is_asked_for(placing, model, slot, several_of[name]):
                by_node[slot.id.node].append((found.as_model(model), found))
                several_of[name].append(slot)
    for several in by_node.values():
        several.sort(key=lambda one: (-one[0].priority, -total(one[1].charges), one[0].name))
        while len(several) > 1 and not _have_room_together(placing, several):
            several.pop()
        if len(several) > 1:
            for _, found in several:
                placing.board.remove(found)
            for model, found in several:
                room = room_for(found.slot, model, placing.applied)
                assert isinstance(room, Fit)
                _take_anew(placing, model, found, room)


def _is_asked_for(placing: Placing, model: ModelSpec, slot: EngineState, others: Sequence[EngineState]) -> bool:
    """Whether a replica is wanted there, beside those that have a place and these others, none of which is on its node."""
    placed = placing.at[model.name]
    if placing.breaks_spread(model, slot) or any(other.id.node == slot.id.node for other in others):
        return False
    if model.each is None:
        return len(placed) + len(others) < (model.replicas or 0)
    return any(slot in group and placed.keys().isdisjoint(group) for group in placing.groups_of[model.name])


def _have_room_together(placing: Placing, several: Sequence[tuple[ModelSpec, Occupant]]) -> bool:
    with placing.board.trial():
        for _, found in several:
            placing.board.remove(found)
        for model, found in several:
            room = room_for(found.slot, model, placing.applied)
            if not isinstance(room, Fit):
                return False
            take(placing.board, found.slot, model, room, placing.applied)
    return True


def release_leaving(placing: Placing, every: Sequence[Occupant]) -> bool:
    """Gives back the room of residents that will be unloaded: ours that nobody wants any more, and strangers where the policy says so.
    Those that are protected keep theirs, and are noted.

    One that is still the only replica of a wanted model stays charged until that has its place.
    """
    kept = {target.found for targets in placing.at.values() for target in targets.values()}
    gone = False
    for found in every:
        if found in placing.result.released or found in kept or found in placing.result.displaced or not leaves(placing, found):
            continue
        if found.protected:
            placing.result.spared.add(found)
            continue
        placing.board.remove(found)
        placing.leave(found, placing.result.released)
        gone = True
    if gone:
        placing.freed()
    return gone


def let_yield(placing: Placing, every: Sequence[Occupant]) -> None:
    """Strangers with a finite keep-alive that no target uses, where the policy lets them be evicted."""
    kept = {target.found for targets in placing.at.values() for target in targets.values()}
    for found in every:
        if found not in kept and not placing.has_left(found):
            placing.may_yield(found)


def leaves(placing: Placing, found: Occupant) -> bool:
    """Whether a resident that is no target is to leave by the files and the policy, whether it is protected or not."""
    slot = found.slot
    if found.left_over or not slot.selected or slot.is_fixed:
        return False
    if found.model is None:
        return found.owned is not None or found.absent or placing.desired.policy.unmanaged is Unmanaged.UNLOAD
    if found.owned is None:
        return False
    loaded = [model for model in (found.model, *found.also) if model.ensure is Ensure.LOADED]
    if not loaded:
        return found.held_by_us
    return all(_is_there_without(placing, model, slot) or is_parted(placing, model, found) for model in loaded)


def is_parted(placing: Placing, model: ModelSpec, found: Occupant) -> bool:
    """Whether a resident of `model` may not stay because of who else has its place on the card, or has none there; notes why."""
    if model.name not in placing.company.involved or found.slot in placing.at[model.name]:
        return False
    foe = placing.foe_on(model, found.slot, there=_as_it_is(placing, model, found))
    mate = placing.lacks_mate(model, found.slot) if placing.settled else None
    if foe is not None:
        placing.result.parted[found] = NEVER_WITH, f"may not be on one card with {foe}"
    elif mate is not None:
        placing.result.parted[found] = WITH, f"may only be beside {mate}, which is not on its card"
    return foe is not None or mate is not None


def _is_there_without(placing: Placing, model: ModelSpec, slot: EngineState) -> bool:
    if model.each is not None and slot not in placing.serves(model):
        return True
    return is_there_without(model, slot, placing.at[model.name])


def is_there_without(model: ModelSpec, slot: EngineState, here: Collection[EngineState]) -> bool:
    """Whether `model`, which is `here`, needs no further resident on an engine: another one is its replica there, or on the node where it
    wants one, or it has as many as it wants."""
    if slot in here or (model.each is Each.NODE and any(other.id.node == slot.id.node for other in here)):
        return True
    return model.replicas is not None and len(here) >= model.replicas


def _preference(model: ModelSpec, found: Occupant) -> tuple[bool, bool, int, bool, str]:
    """Of two residents of one model on one engine: the one that we loaded as it; of its variants ours, then the better one; then the one by
    its very name."""
    one = found.as_model(model)
    place = next((number for number, variant in enumerate(model.variants) if variant.name == one.variant), 0)
    as_it = any(row.model == model.name for row in found.rows)
    by_name = found.resident.name == one.engine_name(found.slot.kind)
    return not as_it, bool(model.variants) and not found.rows, place, not by_name, found.resident.name
