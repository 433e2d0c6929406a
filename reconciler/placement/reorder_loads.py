"""Another order on one engine: what is there leaves and comes back after a load that the engine takes only before it.

An Ollama takes a further model only where its prediction is 80% of what it believes free. So a large model beside a small one may be taken
before it and not after it. The small one is away meanwhile, so this is the last thing that is tried.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from reconciler.capacity import EngineState, raised, total
from reconciler.fleet import ModelSpec
from reconciler.placement.fit import Fit, room_for, static_refusal, take
from reconciler.placement.leaving import Leaving
from reconciler.placement.preemption import drop, together
from reconciler.placement.search_state import Placing

BELIEVABLE = 1.1
"""How much of its need a resident may hold: where it holds more the need is wrong, and so may be those of the others."""
RESEATING_SLOTS = 32
"""How many engines are looked at for another order, before a replica is called unplaced."""


def reseat(placing: Placing, model: ModelSpec, candidates: Sequence[EngineState]) -> bool:
    """Places `model` where residents that matter no more leave for it and all come back."""
    looked = 0
    for slot in candidates:
        if not slot.rules.memory or not slot.cards or slot in placing.at[model.name]:
            continue
        if placing.is_kept_away(model, slot) or static_refusal(slot, model) is not None:
            continue
        looked += 1
        if looked > RESEATING_SLOTS:
            return False
        there = [one for one in together(placing, slot) if one.priority <= model.priority and _is_there(one)]
        if not there or placing.room_at(model, slot) != "engine_would_evict":
            continue
        groups = [[one] for one in sorted(there, key=lambda one: (one.bytes, one.targets[0].model.name))]
        for group in [*groups, there] if len(there) > 1 else groups:
            placing.reseats_left -= 1
            if placing.reseats_left < 0:
                return False
            if _all_come_back(placing, model, slot, group):
                _carry_out(placing, model, slot, group)
                return True
    return False


def _is_there(leaving: Leaving) -> bool:
    """Whether it is resident: what is yet to be loaded can be put in any order as it is."""
    return any(target.found is not None for target in leaving.targets)


def _all_come_back(placing: Placing, model: ModelSpec, slot: EngineState, group: Sequence[Leaving]) -> bool:
    """Whether the engine takes `model` and then all that left, in some order."""
    with placing.board.trial():
        for leaving in group:
            leaving.lift(placing.board)
        for own in placing.gives_way(model, slot):
            placing.board.remove(own)
        coming = [(model, 0), *((target.model, leaving.bytes) for leaving in group for target in leaving.targets)]
        for one, held in coming:
            room = room_for(slot, one, placing.applied)
            if not isinstance(room, Fit) or held > room.need.bytes * BELIEVABLE:
                return False
            take(placing.board, slot, one, _at_most(room, held), placing.applied)
    return True


def _at_most(room: Fit, held: int) -> Fit:
    """The same, charged with no less than the engine predicts and than was held before: with less than they really take, two would throw
    each other out at every apply, each the only one that is there."""
    coming = room.coming
    if coming is None or room.shares:
        return room
    more = max(held, coming.predicted or 0) - room.need.bytes
    if more <= 0:
        return room
    charges = raised(room.charges, more)
    return replace(room, charges=charges, coming=replace(coming, charged=total(charges)))


def _carry_out(placing: Placing, model: ModelSpec, slot: EngineState, group: Sequence[Leaving]) -> None:
    for leaving in group:
        drop(placing, leaving, model)
    placing.try_at(model, slot)
    for target in (target for leaving in group for target in leaving.targets):
        placing.try_at(target.model, slot)
    placing.freed()
