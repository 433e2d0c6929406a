"""The answer of a search, who leaves and who comes where: tried on the board as a whole, and carried out there.

The board alone decides: an answer that it refuses anywhere is thrown away as a whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set

from reconciler.capacity import Card, EngineState
from reconciler.fleet import Ensure, ModelSpec
from reconciler.placement.company import NOBODY, cards_of
from reconciler.placement.fit import Fit, fit, take
from reconciler.placement.keep import come_to
from reconciler.placement.leaving import Leaving
from reconciler.placement.preemption import drop
from reconciler.placement.result import MissingReplicas
from reconciler.placement.search_state import Placing

PendingLoad = Sequence[tuple[ModelSpec, EngineState]]
"""Who comes where, in the order in which they take their places."""


def refused(placing: Placing, leaving: Iterable[Leaving], coming: PendingLoad) -> set[tuple[str, EngineState]]:
    """The places that the board refuses when all who leave have left, and those that a replica of the same model has. Nothing stays
    changed."""
    wrong: set[tuple[str, EngineState]] = set()
    leaving = list(leaving)
    left = {(target.model.name, one.slot) for one in leaving for target in one.targets}
    taken = {(model.name, slot) for model, _ in coming for slot in placing.at[model.name]} - left
    with placing.board.trial():
        for one in leaving:
            one.lift(placing.board)
        for model, slot in coming:
            room = fit(slot, model, placing.applied)
            free_of_others = model.name not in placing.company.involved or _may_be_beside(placing, model, slot, left, coming)
            if isinstance(room, Fit) and (model.name, slot) not in taken and free_of_others:
                taken.add((model.name, slot))
                take(placing.board, slot, model, room, placing.applied)
            else:
                wrong.add((model.name, slot))
    return wrong


def _may_be_beside(placing: Placing, model: ModelSpec, slot: EngineState, left: Set[tuple[str, EngineState]], coming: PendingLoad) -> bool:
    """Whether it may share its card with all that are there in the end."""
    foes, where = placing.company.foes.get(model.name, NOBODY), set(slot.cards or ())
    stay = (
        target
        for foe in foes
        for at, target in placing.at.get(foe, {}).items()
        if (foe, at) not in left and not placing.is_hoped_for(target)
    )
    if any(where & cards_of(target) for target in stay) or placing.stray_on(model, slot) is not None:
        return False
    if any(other.name in foes and not where.isdisjoint(at.cards or ()) for other, at in coming):
        return False
    for mate in placing.company.mates.get(model.name, ()):
        there = [cards_of(target) for at, target in placing.at.get(mate, {}).items() if (mate, at) not in left]
        if len(where) != 1 or where not in (*there, *(set(at.cards or ()) for other, at in coming if other.name == mate)):
            return False
    return True


def carry_out(placing: Placing, leaving: Iterable[Leaving], coming: PendingLoad, models: Sequence[ModelSpec]) -> None:
    """Who leaves is taken off the board and told for whom, the most important that comes to one of its cards; then each replica takes its
    new place, and of `models` it is said anew what has none. At least one comes."""
    for_whom: dict[Card, ModelSpec] = {}
    for model, slot in coming:
        for card in slot.cards or ():
            known = for_whom.get(card)
            if known is None or (model.priority, model.vram or 0) > (known.priority, known.vram or 0):
                for_whom[card] = model
    for one in leaving:
        cards = (card for holding in one.holdings for card, _ in holding.charges)
        drop(placing, one, next((for_whom[card] for card in cards if card in for_whom), coming[0][0]))
    for model, slot in coming:
        come_to(placing, model, slot)
    placing.freed()
    _count_lacking(placing, models)


def _count_lacking(placing: Placing, models: Sequence[ModelSpec]) -> None:
    names = {model.name for model in models}
    old = {entry.model.name: entry for entry in placing.result.lacking if entry.model.name in names}
    placing.result.lacking = [entry for entry in placing.result.lacking if entry.model.name not in names]
    for model in models:
        if model.ensure is not Ensure.LOADED:
            placing.result.lacking += [old[model.name]] if model.name in old else []
            continue
        asked: tuple[EngineState, ...] | None = None
        missing = (model.replicas or 0) - len(placing.at[model.name])
        if model.each is not None:
            without = [group for group in placing.groups_of[model.name] if not any(slot in placing.at[model.name] for slot in group)]
            can_be_asked = [group for group in ([slot for slot in group if slot.reachable and slot.selected] for group in without) if group]
            missing, asked = len(can_be_asked), tuple(slot for group in can_be_asked for slot in group)
        if missing > 0:
            placing.result.lacking.append(MissingReplicas(model, missing, asked))
