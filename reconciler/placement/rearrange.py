"""What found no room as the board stands gets a place by moves of others: a search over plain numbers, and its answer tried on the board.

The board alone decides: an answer that it refuses anywhere is thrown away as a whole, and searched anew without what was refused.
"""

from __future__ import annotations

from collections.abc import Sequence

from reconciler.capacity import EngineState
from reconciler.fleet import ModelSpec
from reconciler.placement.answers import carry_out, refused
from reconciler.placement.board_packing import Answer, BoardPacking
from reconciler.placement.company import cards_of
from reconciler.placement.leaving import Leaving
from reconciler.placement.preemption import together
from reconciler.placement.result import MissingReplicas
from reconciler.placement.search import Search
from reconciler.placement.search_state import Placing

PATIENCE, PATIENCE_EACH, PATIENCE_AT_MOST = 20_000, 200, 150_000
"""How many partial answers are looked at without finding anything: so many, and so many more for each card, up to so
many."""
BRIEF_PATIENCE = 5_000
"""The same of a brief search, however many cards there are."""
ROUNDS_OF_PATIENCE = 6
"""How many times that is looked at in all."""
REJOINED = 16
"""How many replicas that others wait for are tried elsewhere, for all that waits of one priority."""
REFUSALS = 4
"""How often the search begins anew since the board refused an answer."""


def rearrange(placing: Placing, level: Sequence[ModelSpec]) -> None:
    """Gives what is lacking of these models, all of one priority, a place where others can move, or matter less: first with room for those
    that wait to be beside it."""
    which = level[0].priority, placing.as_there
    wanted = _searched_for(placing, level)
    if placing.searched.get(which) == (placing.version, _counts(wanted)):
        return
    if any(placing.needed_beside(one.model) for one in wanted):
        _search(placing, wanted, level, beside=True)
        wanted = _searched_for(placing, level)
    if wanted and not _search(placing, wanted, level):
        before, tries = placing.version, REJOINED
        for entry in _searched_for(placing, level):
            tries -= _rejoin(placing, entry.model, level, tries)
        if placing.version == before:
            placing.searched[which] = placing.version, _counts(wanted)


def _rejoin(placing: Placing, model: ModelSpec, level: Sequence[ModelSpec], tries: int) -> int:
    """Gives a model a place beside the one that it waits for by taking that along, where nothing else is beside that already. Answers of
    how many replicas it tried that, at most `tries`."""
    mates = placing.company.mates.get(model.name, ())
    followers = placing.company.followers
    if len(mates) != 1 or model.name in followers or mates[0] in placing.company.mates or mates[0] not in placing.at:
        return 0
    tried, patience = 0, BRIEF_PATIENCE if placing.brief else PATIENCE
    others = [cards for name in followers[mates[0]] for target in placing.at.get(name, {}).values() for cards in cards_of(target)]
    for target in [*placing.at[mates[0]].values()]:
        if tried == tries:
            break
        leaving = next((one for one in together(placing, target.slot) if one.targets == (target,)), None)
        if leaving is None or not cards_of(target).isdisjoint(others):
            continue
        tried += 1
        with placing.board.trial():
            leaving.lift(placing.board)
            found = BoardPacking(placing, (), set(), pair=(target.model, model))
        Search(found.packing, patience * 2, patience).run()
        answer = found.answer()
        where = next((slot for piece, slot in answer if piece.model is model and piece.slot is None), None)
        if where is None:
            continue
        gone, coming = [leaving, *_leaving(answer)], [(target.model, where), *_coming(answer)]
        if not refused(placing, gone, coming):
            carry_out(placing, gone, coming, level)
            break
    return tried


def _searched_for(placing: Placing, level: Sequence[ModelSpec]) -> list[MissingReplicas]:
    """What is lacking of these models and is searched for, by name."""
    names = {model.name for model in level}
    wanted = [one for one in placing.result.lacking if one.model.name in names and placing.is_searched(one.model)]
    return sorted(wanted, key=lambda one: one.model.name)


def _counts(wanted: Sequence[MissingReplicas]) -> tuple[tuple[str, int], ...]:
    return tuple((one.model.name, one.count) for one in wanted)


def _search(placing: Placing, wanted: Sequence[MissingReplicas], level: Sequence[ModelSpec], beside: bool = False) -> bool:
    """Whether something came of a search, if not for some of these; False only where it has nothing to offer."""
    never: set[tuple[str, EngineState]] = set()
    for _ in range(REFUSALS):
        model = BoardPacking(placing, wanted, never, beside)
        if not model.new:
            return True
        cards = len(model.packing.free)
        patience = BRIEF_PATIENCE if placing.brief else min(PATIENCE + PATIENCE_EACH * cards, PATIENCE_AT_MOST)
        Search(model.packing, patience * ROUNDS_OF_PATIENCE, patience).run()
        answer = model.answer()
        if not any(slot is not None and piece.slot is None for piece, slot in answer):
            return False
        leaving, coming = _leaving(answer), _coming(answer)
        wrong = refused(placing, leaving, coming)
        if not wrong:
            carry_out(placing, leaving, coming, level)
            return True
        never |= wrong
    return True


def bring_back(placing: Placing) -> bool:
    """Whether something came back that was moved for others, and whose old place is free again now that all have theirs."""
    if not placing.result.displaced:
        return False
    as_there, placing.as_there = placing.as_there, False  # where it was found is where it belongs
    model = BoardPacking(placing, (), set())
    placing.as_there = as_there
    if any(item.home is not None and item.at != item.home for item in model.packing.items):
        Search(model.packing, PATIENCE, PATIENCE).settle()
        answer = model.answer()
        leaving, coming = _leaving(answer), _coming(answer)
        if answer and not refused(placing, leaving, coming):
            carry_out(placing, leaving, coming, ())
            return True
    return False


def _coming(answer: Answer) -> list[tuple[ModelSpec, EngineState]]:
    """What is to be placed, the largest first, as engines take loads; what may only be beside others last."""
    placed = [(piece.model, slot) for piece, slot in answer if piece.model is not None and slot is not None]
    return sorted(placed, key=lambda one: (bool(one[0].with_models), -(one[0].vram or 0), one[0].name, one[1].id))


def _leaving(answer: Answer) -> list[Leaving]:
    return [piece.leaving for piece, _ in answer if piece.leaving is not None]
