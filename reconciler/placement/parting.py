"""Models that may only be beside others: they leave with these, and what they wait for comes to them."""

from __future__ import annotations

from collections.abc import Sequence

from reconciler.capacity import EngineState
from reconciler.fleet import Ensure, ModelSpec
from reconciler.placement.company import NOBODY, WITH
from reconciler.placement.search_state import Placing


def part(placing: Placing) -> bool:
    """Takes replicas away whose mates have left their card; whether there was one. They ask for a place again; what clients loaded stays,
    and is no replica."""
    parted = False
    for model in placing.company.mates_first(placing.models):
        if model.name not in placing.company.mates:
            continue
        for slot, target in list(placing.at[model.name].items()):
            mate = placing.lacks_mate(model, slot)
            if mate is None or target.stays or model.ensure is not Ensure.LOADED:
                continue
            if target.holding is not None and target.holding.there:
                placing.board.remove(target.holding)
            placing.on_slot[slot].remove(target)
            del placing.at[model.name][slot]
            placing.count(target, -1)
            placing.moved.add(model.name)
            if target.found is not None and target.found.owned is None:
                placing.stays_a_stranger(target.found)
            elif target.found is not None:
                placing.result.parted[target.found] = (WITH, f"may only be beside {mate}, which is not on its card")
                placing.leave(target.found, placing.result.released)
            parted = True
    if parted:
        placing.freed()
    return parted


def beside_followers(placing: Placing, model: ModelSpec) -> Sequence[EngineState]:
    """The engines on a card where a model is resident that may only be beside this one, so that nothing has to move for it."""
    followers = placing.company.followers.get(model.name, NOBODY)
    if not followers:
        return ()
    found = (one for name in sorted(followers) for one in placing.found_of.get(name, ()) if not placing.has_left(one))
    where = {card for one in found for card, _ in one.charges}
    return [slot for slot in placing.class_of(model).slots if slot.cards is not None and len(slot.cards) == 1 and slot.cards[0] in where]
