"""The order of changes: no card is ever asked for more than it may hold, whatever runs in parallel.

On each card loads are numbered by priority. The k-th load needs as many unloads before it as make room for loads 1…k together. So in every
schedule that respects `needs`, whichever loads have started, the highest-numbered one has already waited for enough room for all of them.
Unloads wait for nothing but pulls (of the load they make room for, of the model that moves) and, where a model moves and the new place
has room already, for the new replica: then there is no moment without it. So there is always an order, and full swap rings are cut at
their unloads. Where reloads would wait for each other in a ring, one of them is made an unload and a load (`kinds.model.changing_places`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from reconciler.capacity.rooms import Booking, Room, balance_of
from reconciler.fleet import Order
from reconciler.planning.by_needs import Rank, by_needs
from reconciler.planning.kinds.model.admission_order import own_rules_first
from reconciler.planning.kinds.model.change import Change
from reconciler.planning.kinds.model.changing_places import leaves_first, who_leaves_first
from reconciler.planning.plan import FETCHES, Action, Note

_RANK = {
    Action.ADOPT: 0,
    Action.PULL: 1,
    Action.TAG: 1,
    Action.UPDATE: 2,
    Action.UNLOAD: 3,
    Action.LOAD: 4,
    Action.RELOAD: 4,
    Action.WAIT: 5,
    Action.REMOVE: 6,
}

MOVES = ("surplus", "displaced", "never_with", "with")
"""Reasons of an unload whose model is to be elsewhere."""


def order(changes: Sequence[Change]) -> list[Change]:
    """The changes with their `needs` filled in, each after all that it needs; deterministic. One more where a reload has to leave first."""
    changes = room_first(changes)
    own_rules_first(changes)
    free_first(changes)
    pulls_first(changes)
    move_start_first(changes)
    return _sorted_by_needs(changes)


def room_first(changes: Sequence[Change]) -> list[Change]:
    """Makes every load need what must leave first: the unloads, and the reloads that shrink, without which its cards would be over their
    bound or its engine would hold more models than it takes. A reload that takes what it held asks for it anew: where a card or an engine
    is too full as found, it finds its place only after the others left. Reloads that wait for each other have no order: until there is one,
    one of each ring is split. Answers the changes, with the unloads that this adds."""
    every = [*changes]
    while ring := _need_room(every):
        first = who_leaves_first(ring)
        every.append(leaves_first(first, [one for one in ring if one is not first]))
    return every


def _need_room(changes: Sequence[Change]) -> list[Change]:
    """Adds to the `needs` of loads, where that makes no ring of reloads; else adds nothing and answers the reloads of a ring."""
    freeing: dict[Room, list[tuple[Change, int]]] = defaultdict(list)
    taking: dict[Room, list[tuple[Change, int]]] = defaultdict(list)
    for change in changes:
        if not change.frees and change.action is not Action.UNLOAD:
            continue
        for room, count in _balance_of(change).items():
            if count < 0:
                freeing[room].append((change, -count))
    for change in sorted(changes, key=_by_priority) if freeing else ():
        for room, count in _balance_of(change).items():
            if room in freeing and (count > 0 or (count == 0 and change.action is Action.RELOAD)):
                taking[room].append((change, count))
    needed = {load: len(load.needs) for loads in taking.values() for load, _ in loads}
    for room, loads in taking.items():
        booking = Booking(room, max(load.margin for load, _ in loads))
        leaving = sorted(
            freeing[room], key=lambda pair: (pair[0].action is not Action.UNLOAD, pair[0].made_room, -pair[1], pair[0].address)
        )
        chosen: list[Change] = []
        for load, grows in loads:
            booking.book(grows)
            while booking.over and len(chosen) < len(leaving):
                change, count = leaving[len(chosen)]
                booking.release(count)
                chosen.append(change)
            known = set(map(id, load.needs))
            for change in chosen:
                if id(change) in known or change is load:
                    continue
                if change.action is load.action is Action.RELOAD and change.waits_for(load):
                    ring = _ring(changes, change, load)
                    for one, count in needed.items():
                        del one.needs[count:]
                    return ring
                load.needs.append(change)
    return []


def _ring(changes: Sequence[Change], change: Change, load: Change) -> list[Change]:
    """The reloads by which `change` waits for `load`, with both of them."""
    between = change.reach()
    reloads = (one for one in changes if one.action is Action.RELOAD)
    return [one for one in reloads if one in (change, load) or (id(one) in between and one.waits_for(load))]


def free_first(changes: Sequence[Change]) -> None:
    """Makes a load that asks for free memory wait for all that leaves its cards or shrinks there, as it was judged, and a load that is
    never on one card with a model for what leaves of that."""
    asking = [change for change in changes if change.action is Action.LOAD and (change.waits_for_all or change.apart)]
    for load in sorted(asking, key=_by_priority):
        cards = {card for card, _ in load.takes}
        for change in changes:
            shrinks = any(card in cards for card, _ in change.frees)
            meant = load.waits_for_all or (change.model in load.apart and change.action is Action.UNLOAD)
            if shrinks and meant and change is not load and change not in load.needs and not change.waits_for(load):
                load.needs.append(change)


def _balance_of(change: Change) -> Mapping[Room, int]:
    """What a change adds to all that can be full; negative where it frees."""
    models = {Action.LOAD: 1, Action.RELOAD: 0, Action.UNLOAD: -1}.get(change.action)
    return balance_of(change.slot, change.takes, change.frees, models, change.cache)


def pulls_first(changes: Sequence[Change]) -> None:
    """A pull that fails changes no resident: what makes room for a load waits for the pull of that load, and what leaves because its model
    moves waits for one of the model's own pulls."""
    arriving: dict[str, list[Change]] = defaultdict(list)
    for load in changes:
        pulls = [needed for needed in load.needs if needed.action in FETCHES]
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
    """A model that moves: its old replica leaves after a new one is there, where the new place needs nobody to leave first. What leaves for
    another model does so too, where the new place waits for others, but not for its own; unless it has to be fetched there. With
    `order: stop-first` it is the other way round."""
    arriving: dict[str, list[Change]] = defaultdict(list)
    for change in changes:
        if change.action is Action.LOAD:
            arriving[change.model].append(change)
    for change in changes:
        if change.order is Order.STOP_FIRST and change.reason.code in MOVES:
            load = next((load for load in reversed(arriving.get(change.model, [])) if not change.waits_for(load)), None)
            if load is not None:
                arriving[change.model].remove(load)
                load.needs.append(change)
        elif change.action is Action.UNLOAD and arriving.get(change.model):
            load = next((load for load in reversed(arriving[change.model]) if _may_come_first(load, change)), None)
            if load is not None:
                arriving[change.model].remove(load)
                change.needs.append(load)


def stop_first_notes(changes: Sequence[Change]) -> list[Note]:
    """The models that are to start elsewhere before they stop, and cannot."""
    arriving = {change.model for change in changes if change.action is Action.LOAD}
    stopped = [
        change
        for change in changes
        if change.order is Order.START_FIRST and change.reason.code in MOVES and change.model in arriving
        and not any(need.action is Action.LOAD and need.model == change.model for need in change.needs)
    ]  # fmt: skip
    return [Note(change.address, "stops_first", "leaves before it is there elsewhere: there is no room for both") for change in stopped]


def _may_come_first(load: Change, unload: Change) -> bool:
    if unload.reason.code in MOVES and all(needed.action in FETCHES for needed in load.needs):
        return True
    fetched = any(needed.action in FETCHES for needed in load.needs)
    return unload.by is not None and not fetched and not load.waits_for(unload)


def _by_priority(change: Change) -> tuple[int, str]:
    return -change.priority, change.address


def _sorted_by_needs(changes: Sequence[Change]) -> list[Change]:
    number = {id(change): n for n, change in enumerate(changes)}
    needs = [[number[id(needed)] for needed in change.needs] for change in changes]
    ranks: list[Rank] = [(_RANK[change.action], *_by_priority(change), change.id) for change in changes]
    return [changes[n] for n in by_needs(needs, ranks)]
