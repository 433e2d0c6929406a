"""The order of changes: no card is ever asked for more than it may hold, whatever runs in parallel.

On each card loads are numbered by priority. The k-th load needs as many unloads before it as make room for loads 1…k together. So in every
schedule that respects `needs`, whichever loads have started, the highest-numbered one has already waited for enough room for all of them.
Unloads wait for nothing but pulls (of the load they make room for, of the model that moves) and, where a model moves and the new place
has room already, for the new replica: then there is no moment without it. So there is always an order, and full swap rings are cut at
their unloads.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Mapping, Sequence

from reconciler.placement import Card
from reconciler.planning.changes import Change
from reconciler.planning.plan import Action

_RANK = {Action.ADOPT: 0, Action.PULL: 1, Action.UPDATE: 2, Action.UNLOAD: 3, Action.LOAD: 4, Action.RELOAD: 4, Action.WAIT: 5}

MOVES = ("surplus", "displaced")
"""Reasons of an unload whose model is to be elsewhere."""


def order(changes: Sequence[Change]) -> list[Change]:
    """The changes with their `needs` filled in, each after all that it needs; deterministic."""
    room_first(changes)
    pulls_first(changes)
    move_start_first(changes)
    return _sorted_by_needs(changes)


def room_first(changes: Sequence[Change]) -> None:
    """Makes every load need the unloads without which its cards would be over their bound."""
    freeing: dict[Card, list[tuple[Change, int]]] = defaultdict(list)
    taking: dict[Card, list[tuple[Change, int]]] = defaultdict(list)
    for change in changes:
        if change.action is Action.UNLOAD:
            for card, count in change.frees:
                freeing[card].append((change, count))
    if not freeing:
        return
    for change in sorted(changes, key=_by_priority):
        if change.action is Action.UNLOAD:
            continue
        freed = dict(change.frees)
        for card, count in change.takes:
            grows = count - freed.get(card, 0)
            if card in freeing and grows > 0:
                taking[card].append((change, grows))
    for card, loads in taking.items():
        limit = max(card.usable or 0, card.foreign + card.before)
        booked = card.foreign + card.before
        unloads = sorted(freeing.get(card, ()), key=lambda pair: (pair[0].made_room, -pair[1], pair[0].address))
        chosen: list[Change] = []
        for load, grows in loads:
            booked += grows
            while booked > limit and len(chosen) < len(unloads):
                unload, count = unloads[len(chosen)]
                booked -= count
                chosen.append(unload)
            known = set(map(id, load.needs))
            load.needs.extend(unload for unload in chosen if id(unload) not in known)


def pulls_first(changes: Sequence[Change]) -> None:
    """A pull that fails changes no resident: what makes room for a load waits for the pull of that load, and what leaves because its model
    moves waits for one of the model's own pulls."""
    arriving: dict[str, list[Change]] = defaultdict(list)
    for load in changes:
        pulls = [needed for needed in load.needs if needed.action is Action.PULL]
        if not pulls or load.action is Action.UNLOAD:
            continue
        arriving[load.model].extend(pulls)
        for needed in load.needs:
            if needed.action is Action.UNLOAD:
                needed.needs.extend(pulls)
    for change in changes:
        if change.action is Action.UNLOAD:
            if change.reason.code in MOVES and arriving.get(change.model):
                change.needs.append(arriving[change.model].pop())
            change.needs[:] = {id(needed): needed for needed in change.needs}.values()


def move_start_first(changes: Sequence[Change]) -> None:
    """A model that moves: its old replica leaves after a new one is there, where the new place needs nobody to leave first."""
    arriving: dict[str, list[Change]] = defaultdict(list)
    for change in changes:
        if change.action is Action.LOAD and all(needed.action is not Action.UNLOAD for needed in change.needs):
            arriving[change.model].append(change)
    for change in changes:
        if change.action is Action.UNLOAD and arriving.get(change.model) and change.reason.code in MOVES:
            change.needs.append(arriving[change.model].pop())


def _by_priority(change: Change) -> tuple[int, str]:
    return -change.priority, change.address


def _sorted_by_needs(changes: Sequence[Change]) -> list[Change]:
    waiting = {id(change): len(change.needs) for change in changes}
    dependents: dict[int, list[Change]] = defaultdict(list)
    for change in changes:
        for needed in change.needs:
            dependents[id(needed)].append(change)
    ready = [(_RANK[change.action], *_by_priority(change), change.id, n) for n, change in enumerate(changes) if not waiting[id(change)]]
    position = {id(change): n for n, change in enumerate(changes)}
    heapq.heapify(ready)
    done: list[Change] = []
    while ready:
        change = changes[heapq.heappop(ready)[-1]]
        done.append(change)
        for dependent in dependents[id(change)]:
            waiting[id(dependent)] -= 1
            if not waiting[id(dependent)]:
                heapq.heappush(ready, (_RANK[dependent.action], *_by_priority(dependent), dependent.id, position[id(dependent)]))
    if len(done) != len(changes):
        raise AssertionError("the needs of the changes form a ring")
    return done


def levels(changes: Sequence[Change]) -> tuple[Mapping[Card, int], Mapping[Card, int]]:
    """(peak, after) bytes, without foreign use, of every card from which something leaves, walking the changes in their order.

    Cards that are only added to are at their fullest in the end, so they are left out.
    """
    leaving = {card for change in changes for card, _ in change.frees}
    level: dict[Card, int] = {}
    peak: dict[Card, int] = {}
    for change in changes:
        if not leaving:
            break
        freed = dict.fromkeys((card for card, _ in change.frees), 0)
        for card, count in change.frees:
            freed[card] += count
        for card, count in change.takes:
            if card not in leaving:
                continue
            now = level.get(card, card.before)
            grown = now + max(0, count - freed.get(card, 0))
            peak[card] = max(peak.get(card, card.before), grown)
            level[card] = now + count - freed.pop(card, 0)
        for card, count in freed.items():
            level[card] = level.get(card, card.before) - count
            peak.setdefault(card, card.before)
    return peak, level
