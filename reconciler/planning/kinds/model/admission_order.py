"""Orders the loads of each Ollama so that it evicts nobody for any of them, whatever of the rest has been done by then.

A load that its server would only take while something else is not there yet comes before that; one that it would only take after something
has left waits for that. Where the server takes them in any order nothing is added, so that one failure does not hold up the others.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from reconciler.admission import PendingLoad, any_order_holds, arrange, threshold
from reconciler.capacity import Card, EngineState
from reconciler.capacity.rooms import PredictedRoom
from reconciler.planning.kinds.model.change import Change
from reconciler.planning.plan import Action

_LOADS = (Action.LOAD, Action.RELOAD)


def own_rules_first(changes: Sequence[Change]) -> list[Change]:
    """Adds to the `needs` of loads (and of what must wait for them). Answers the loads for which a server may still evict somebody: what it
    predicts is more than its place leaves in every order."""
    by_slot: dict[EngineState, list[Change]] = defaultdict(list)
    for change in changes:
        if change.action in _LOADS and change.takes and change.slot.rules.memory and change.slot.cards:
            by_slot[change.slot].append(change)
    if not by_slot:
        return []
    by_node: dict[str, list[Change]] = defaultdict(list)
    for change in changes:
        by_node[change.slot.id.node].append(change)
    unsure: list[Change] = []
    for slot in sorted(by_slot, key=lambda slot: slot.id):
        cards = slot.cards or ()
        if any(card.total is None for card in cards) or not any(_predicted(load) for load in by_slot[slot]):
            continue
        near = [change for change in by_node[slot.id.node] if change.slot is slot or _is_on(change, cards)]
        unsure.extend(_Server(slot, by_slot[slot], near).arrange())
    return unsure


def _is_on(change: Change, cards: Sequence[Card]) -> bool:
    return any(card in cards for card, _ in (*change.takes, *change.frees))


def _predicted(load: Change) -> int | None:
    coming = load.slot.coming.get(load.model)
    return coming.predicted if coming is not None else None


class _Server:
    """One server with its loads, and all changes on its cards, also those of other engines there."""

    def __init__(self, slot: EngineState, loads: Sequence[Change], near: Sequence[Change]) -> None:
        self._slot, self._loads, self._near = slot, loads, near
        self._room = room = PredictedRoom(slot)
        self._adds = {id(change): room.adds(change.takes, change.frees) for change in near}
        self._frees = {id(change): room.on(change.frees) for change in near}
        self._total, self._held = room.whole, room.held
        self._leaving = [change for change in near if change.slot is slot and change.action is Action.UNLOAD]
        going = len(self._leaving) + sum(load.action is Action.RELOAD for load in loads)
        residents = slot.facts.residents if slot.facts is not None else None
        self._empties = len(residents or ()) <= going

    def arrange(self) -> list[Change]:
        unsure: list[Change] = []
        fullest = self._held + sum(adds for adds in self._adds.values() if adds > 0)
        if any_order_holds([PendingLoad(_predicted(load), 0) for load in self._loads], self._total - fullest):
            return unsure
        earlier: list[Change] = []
        for load in self._in_order():
            predicted = _predicted(load)
            if predicted is not None and not self._admit(load, predicted, earlier):
                unsure.append(load)
            earlier.append(load)
        return unsure

    def _in_order(self) -> list[Change]:
        """The order in which all fit, if there is one, as far as what they need already allows it."""
        coming = {id(load): PendingLoad(_predicted(load), self._room.on(load.takes)) for load in self._loads}
        free = self._total - self._held - sum(self._adds.values())
        arranged = arrange(list(coming.values()), free, self._empties)
        rank = {id(one): number for number, one in enumerate(arranged)} if arranged is not None else None

        def key(load: Change) -> tuple[int, int, str]:
            one = coming[id(load)]
            return (rank[id(one)] if rank is not None else -one.urgency, -load.priority, load.address)

        left, ordered = sorted(self._loads, key=key), list[Change]()
        while left:
            waiting = set(map(id, left))
            ready = next((load for load in left if not load.reach() & (waiting - {id(load)})), left[0])
            left.remove(ready)
            ordered.append(ready)
        return ordered

    def _admit(self, load: Change, predicted: int, earlier: Sequence[Change]) -> bool:
        """Makes `load` wait for enough that leaves, and what would be in its way wait for it."""
        done = {id(change) for change in earlier}
        others = [change for change in self._near if change not in earlier and change is not load and self._adds[id(change)] > 0]
        held = self._held + sum(max(0, self._adds[id(change)]) for change in earlier) - self._frees[id(load)]
        before = load.reach()
        held += sum(self._adds[key] for key in before if self._adds.get(key, 0) < 0)

        def fits(more: Iterable[Change] = ()) -> bool:
            return predicted <= threshold(self._total - held - sum(self._adds[id(change)] for change in more))

        foreign = [change for change in others if change.slot is not self._slot]
        for change in self._freeing_before(load):
            if fits(foreign):
                break
            if id(change) not in before and not change.waits_for(load):
                load.needs.append(change)
                before |= {id(change)} | change.reach()
                held += self._adds[id(change)]
        sure = fits(foreign) or fits()
        if not sure and self._empties and not done:
            load.needs.extend(change for change in self._leaving if id(change) not in before and not change.waits_for(load))
            sure = True
        in_the_way = [change for change in others if id(change) not in before and not change.waits_for(load)]
        if not fits(in_the_way):
            for change in in_the_way:
                change.needs.append(load)
        return sure

    def _freeing_before(self, load: Change) -> list[Change]:
        found = [change for change in self._near if self._adds[id(change)] < 0 and change is not load]
        return sorted(found, key=lambda one: (one.action is not Action.UNLOAD, one.made_room, self._adds[id(one)], one.address))
