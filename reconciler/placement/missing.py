"""Places for what is missing: where it was last applied, else the strategy's best engine with room, else by making room."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence

from reconciler.capacity import EngineState, least_left
from reconciler.fleet import Each, EngineId, Ensure, ModelSpec, Residency, Spread
from reconciler.placement.eligibility import NEVER_QUALIFIES, ModelClass
from reconciler.placement.fit import CAPACITY_REASONS, Fit, static_refusal
from reconciler.placement.keep import keep
from reconciler.placement.parting import beside_followers
from reconciler.placement.preemption import displace, eject
from reconciler.placement.reorder_loads import reseat
from reconciler.placement.residents import need_on
from reconciler.placement.result import MissingReplicas, Target
from reconciler.placement.search_state import Placing


def place_missing(placing: Placing, model: ModelSpec, alone: bool = False) -> None:
    """Gives replicas a place where nobody has to leave; what has none is lacking. Where others wait to be beside it there is room for them
    too, unless it is to be placed `alone`."""
    if placing.found_of[model.name] and (model.each is not None or len(placing.at[model.name]) < (model.replicas or 0)):
        keep(placing, model)
    if model.each is not None:
        _place_each(placing, model)
        return
    missing = (model.replicas or 0) - len(placing.at[model.name])
    if missing <= 0:
        return
    variants = placing.alternatives[model.name]
    for slot in placing.rows_of[model.name]:
        before = placing.as_applied(model, slot)
        if missing > 0 and before is not None and placing.try_at(before, slot):
            missing -= 1
    for slot in beside_followers(placing, model):
        if missing > 0 and placing.try_at(variants[0], slot):
            missing -= 1
    on_cards_first = (False, True) if model.residency is Residency.GPU_PREFERRED else (model.residency is Residency.CPU,)
    beside = 0 if alone else placing.needed_beside(model)
    for ram in on_cards_first:
        for one in variants:
            if missing > 0:
                missing -= _pick(placing, one, missing, ram, beside)
    candidates = placing.class_of(model).slots
    for one in variants:
        if missing > 0 and model.name in placing.may_share:
            missing -= _share(placing, one, missing, candidates)
    if missing > 0:
        placing.result.lacking.append(MissingReplicas(model, missing))


def make_way(placing: Placing, model: ModelSpec) -> None:
    """Gives what is lacking of a model a place by making room, one engine at a time. What asks for free memory makes none."""
    mine = [entry for entry in placing.result.lacking if entry.model.name == model.name]
    if mine and model.name in placing.company.placed_twice:
        placing.result.lacking = [entry for entry in placing.result.lacking if entry.model.name != model.name]
        place_missing(placing, model, alone=True)
        mine = [entry for entry in placing.result.lacking if entry.model.name == model.name]
    if not mine or model.ensure is not Ensure.LOADED or model.when.free_vram is not None:
        return
    placing.result.lacking = [entry for entry in placing.result.lacking if entry.model.name != model.name]
    variants, candidates = placing.alternatives[model.name], placing.class_of(model).slots
    if model.each is not None:
        _each_by_making_room(placing, model)
        return
    missing = sum(entry.count for entry in mine)
    for one in variants:
        while missing > 0 and (displace(placing, one, candidates) or eject(placing, one, candidates)):
            *_, where = placing.at[model.name]
            missing -= 1 + _beside(placing, one, where, missing - 1)
        while missing > 0 and reseat(placing, one, candidates):
            missing -= 1
    if missing > 0:
        placing.result.lacking.append(MissingReplicas(model, missing))


def _beside(placing: Placing, model: ModelSpec, slot: EngineState, count: int) -> int:
    """Places up to `count` more replicas where room was just made on the cards of `slot`, before anything else has to leave for them.
    Answers how many."""
    placed = 0
    for near in placing.beside(model, slot):
        placed += placed < count and placing.try_at(model, near)
    return placed


def _share(placing: Placing, model: ModelSpec, count: int, candidates: Sequence[EngineState]) -> int:
    """Places up to `count` replicas where a runner with the same weights is to be: that takes no room. Answers how many."""
    placed = 0
    for slot in candidates:
        if placed == count:
            break
        placed += slot.runner(model) in slot.runners and placing.try_at(model, slot)
    return placed


def groups_of(placing: Placing, model: ModelSpec) -> list[tuple[EngineState, ...]]:
    """For `each`: the engines that may serve each node, card or engine, one replica a group; counts what can never qualify."""
    known = placing.class_of(model)
    never = sum(1 for reason in known.refused.values() if reason in NEVER_QUALIFIES)
    groups: list[tuple[EngineState, ...]]
    match model.each:
        case Each.NODE:
            by_node: dict[str, list[EngineState]] = defaultdict(list)
            unknown: dict[str, list[EngineState]] = defaultdict(list)
            for slot in known.slots:
                by_node[slot.id.node].append(slot)
            for slot, reason in known.refused.items():
                if reason not in NEVER_QUALIFIES:
                    unknown[slot.id.node].append(slot)
            groups = [tuple(slots) for _, slots in sorted((by_node | {n: s for n, s in unknown.items() if n not in by_node}).items())]
            never = len(set(model.nodes)) - len(groups)
        case Each.GPU:
            one = [slot for slot in known.slots if slot.cards is not None and len(slot.cards) == 1]
            never += len(known.slots) - len(one)
            groups = [(slot,) for slot in one]
            groups += [(slot,) for slot, reason in known.refused.items() if reason not in NEVER_QUALIFIES]
        case _:
            groups = [(slot,) for slot in known.slots]
            groups += [(slot,) for slot, reason in known.refused.items() if reason not in NEVER_QUALIFIES]
    placing.result.not_applicable[model.name] = never
    return groups


def _place_each(placing: Placing, model: ModelSpec) -> None:
    _fill_groups(placing, model, _try_in_group)


def _each_by_making_room(placing: Placing, model: ModelSpec) -> None:
    _fill_groups(placing, model, _make_room_in_group)


def _fill_groups(placing: Placing, model: ModelSpec, attempt: Callable[[Placing, ModelSpec, Sequence[EngineState]], bool]) -> None:
    """One replica for each group without one, by `attempt`; what has none is lacking."""
    placed = placing.at[model.name]
    owned = set(placing.rows_of[model.name])
    refused = placing.class_of(model).refused
    lacking: list[EngineState] = []
    count = 0
    for group in placing.groups_of[model.name]:
        if not placed.keys().isdisjoint(group):
            continue
        asked = [slot for slot in group if slot.reachable and slot.selected]
        if not asked:
            if group[0].selected:
                first = placing.as_applied(model, group[0]) or placing.alternatives[model.name][0]
                placing.note(Target(first, group[0], need_on(group[0], first, placing.applied), deferred=True))
            continue
        usable = [slot for slot in asked if slot not in refused]
        best = sorted(usable, key=lambda slot: (slot not in owned, slot.hot, slot.used_fraction, slot.id)) if len(usable) > 1 else usable
        if attempt(placing, model, best):
            continue
        count += 1
        lacking.extend(asked)
    if count:
        placing.result.lacking.append(MissingReplicas(model, count, tuple(lacking)))


def _try_in_group(placing: Placing, model: ModelSpec, slots: Sequence[EngineState]) -> bool:
    """One replica on one of these engines: as it was applied there, else the best variant with room."""
    variants = placing.alternatives[model.name]
    rows = placing.rows_of[model.name] if len(variants) > 1 else ()
    before = [(one, slot) for slot in slots if slot in rows and (one := placing.as_applied(model, slot)) is not None]
    return any(placing.try_at(one, slot) for one, slot in before) or any(placing.try_at(one, slot) for one in variants for slot in slots)


def _make_room_in_group(placing: Placing, model: ModelSpec, slots: Sequence[EngineState]) -> bool:
    """One replica on one of these engines: where room was made for another, else by displacing, or by another order of what is there."""
    return _try_in_group(placing, model, slots) or any(
        displace(placing, one, slots) or reseat(placing, one, slots) for one in placing.alternatives[model.name]
    )


def place_present(placing: Placing, model: ModelSpec) -> None:
    """`ensure: present`: on the disk of as many engines as asked, those that have it first; no card is charged."""
    owned = set(placing.rows_of[model.name])

    def order(slot: EngineState) -> tuple[bool, bool, EngineId]:
        return slot not in owned, slot.installed(model.engine_name(slot.kind)) is None, slot.id

    def put(slot: EngineState) -> bool:
        deferred = not slot.reachable or not slot.selected
        if deferred and (slot not in owned or (slot.lost and slot.selected and model.each is None)):
            return False
        if not deferred and _cannot_hold(model, slot):
            return False
        placing.note(Target(model, slot, None, deferred=deferred))
        return True

    if model.each is None:
        missing = model.replicas or 0
        for slot in sorted(placing.class_of(model).slots, key=order):
            if missing > 0 and not placing.breaks_spread(model, slot) and put(slot):
                missing -= 1
        if missing:
            placing.result.lacking.append(MissingReplicas(model, missing))
        return
    lacking: list[EngineState] = []
    count = 0
    for group in placing.groups_of[model.name]:
        if not any(put(slot) for slot in sorted(group, key=order)):
            if all(not slot.selected for slot in group):
                continue
            if all(not slot.reachable for slot in group):
                placing.note(Target(model, group[0], None, deferred=True))
                continue
            count += 1
            lacking.extend(group)
    if count:
        placing.result.lacking.append(MissingReplicas(model, count, tuple(lacking)))


def _cannot_hold(model: ModelSpec, slot: EngineState) -> bool:
    if slot.facts is not None and slot.facts.mode == "single":
        return slot.installed(model.base_name(slot.kind)) is None
    return static_refusal(slot, model) is not None


def _pick(placing: Placing, model: ModelSpec, count: int, ram: bool, beside: int) -> int:
    """Places up to `count` replicas in one pass over the strategy's order, nodes without one first, where so many bytes are left `beside`
    them. Answers how many it placed."""
    key = (ModelClass.of(model), ram)
    least = model.vram
    bound = placing.nothing_fits.get(key)
    if bound is not None and least is not None and least >= bound:
        return 0
    order = placing.order(model, ram)
    here = placing.at[model.name]
    nodes = placing.nodes_of[model.name]
    second: list[EngineState] = []
    placed = 0
    only_capacity = not here
    for slot in order.candidates(least or 0):
        if slot in here:
            continue
        room = placing.room_at(model, slot)
        if not isinstance(room, Fit):
            only_capacity = only_capacity and room in CAPACITY_REASONS
            continue
        only_capacity = False
        if beside and least_left(room.charges) < beside:
            continue
        if model.spread is Spread.NODE and nodes[slot.id.node]:
            if not model.spread_hard:
                second.append(slot)
            continue
        if placing.try_at(model, slot):
            order.taken(slot)
            placed += 1
            if placed == count:
                break
    for slot in second:
        if placed == count:
            break
        if placing.try_at(model, slot):
            order.taken(slot)
            placed += 1
    order.settle()
    if only_capacity and least is not None:
        placing.nothing_fits[key] = min(least, bound if bound is not None else least)
    return placed
