"""What can be full, and what steps add to it: for the order of a plan, and for how full each card is at most along it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from reconciler.capacity.cards import Card, Charges
from reconciler.capacity.engine_state import EngineState
from reconciler.value_class import value_class


@value_class
class Share:
    """What an engine with a `memory_limit` may take of one card."""

    slot: EngineState
    card: Card


@value_class
class Caches:
    """What the KV caches on one card may take of it (`limits.kv_cache_fraction`)."""

    card: Card


Room = Card | EngineState | Share | Caches
"""What can be full: a card in bytes, an engine in models, an engine's share of a card and its part for caches in bytes."""


def balance_of(
    slot: EngineState, takes: Charges, frees: Charges, models: int | None, cache: tuple[int, int] = (0, 0)
) -> Mapping[Room, int]:
    """What a step adds to each card, in bytes, and to an engine that takes only so many models (None: it is not about one there); negative
    where it frees, 0 where it takes what it held. `cache` are the bytes of the cache on each card that it takes, and that it frees."""
    balance: dict[Room, int] = defaultdict(int)
    for card, count in takes:
        balance[card] += count
    for card, count in frees:
        balance[card] -= count
    if slot.spec.memory_limit is not None:
        for card, _ in (*takes, *frees):
            if not card.is_ram:  # an engine's own limit is one of cards
                balance[Share(slot, card)] = balance[card]
    for charges, count in ((takes, cache[0]), (frees, -cache[1])):
        for card, _ in charges if count else ():
            if card.most_cache is not None:
                balance[Caches(card)] += count
    if slot.rules.most is not None and models is not None:
        balance[slot] += models
    return balance


class Booking:
    """What a room holds if all that was booked comes, and nothing that was not released has left. `margin` bytes of a whole card are left
    over."""

    def __init__(self, room: Room, margin: int = 0) -> None:
        self._held, self._limit = _held_and_limit(room)
        if isinstance(room, Card) and room.total is not None:
            self._limit = min(self._limit, room.total - margin)

    @property
    def over(self) -> bool:
        """Whether that is more than it may hold."""
        return self._held > self._limit

    def book(self, count: int) -> None:
        self._held += count

    def release(self, count: int) -> None:
        self._held -= count


def _held_and_limit(room: Room) -> tuple[int, int]:
    """What it holds as found, and what it may hold after a step that adds to it: one that is too full gets below that first."""
    if isinstance(room, Card):
        held = room.foreign + room.before
        return held, room.usable if room.usable is not None else held
    if isinstance(room, Caches):
        held = room.card.cache_before
        return held, held if room.card.most_cache is None else room.card.most_cache
    if isinstance(room, Share):
        held = room.slot.own_before.get(room.card.index, 0)
        limit = room.slot.spec.memory_limit
        return held, limit if limit is not None else held
    return len(room.facts.residents or ()) if room.facts is not None else 0, room.rules.most or 0


def peaks(steps: Iterable[tuple[Charges, Charges]]) -> Mapping[Card, int]:
    """The most bytes, without foreign use, that every card from which something leaves holds while the steps are walked in their order,
    each by what it takes and frees.

    Cards that are only added to are at their fullest in the end, so they are left out.
    """
    ordered = [*steps]
    leaving = {card for _, frees in ordered for card, _ in frees}
    level: dict[Card, int] = {}
    peak: dict[Card, int] = {}
    for takes, frees in ordered if leaving else ():
        freed = dict.fromkeys((card for card, _ in frees), 0)
        for card, count in frees:
            freed[card] += count
        for card, count in takes:
            if card not in leaving:
                continue
            now = level.get(card, card.before)
            peak[card] = max(peak.get(card, card.before), now + max(0, count - freed.get(card, 0)))
            level[card] = now + count - freed.pop(card, 0)
        for card, count in freed.items():
            level[card] = level.get(card, card.before) - count
            peak.setdefault(card, card.before)
    return peak


class PredictedRoom:
    """What a server that predicts its loads believes free of all its cards together, while what is near it changes."""

    def __init__(self, slot: EngineState) -> None:
        self._cards = frozenset(slot.cards or ())
        self.whole = sum((card.total or 0) - card.foreign for card in self._cards)
        self.held = sum(card.before for card in self._cards)

    def on(self, charges: Charges) -> int:
        """The bytes of these that are on its cards."""
        return sum([count for card, count in charges if card in self._cards]) if charges else 0

    def adds(self, takes: Charges, frees: Charges) -> int:
        """What a step adds to its cards; negative where it frees."""
        return self.on(takes) - self.on(frees)


def grown(takes: Charges, frees: Charges) -> Charges:
    """What a step needs free of each card that it takes, beside what it frees there itself."""
    freed = dict(frees)
    return tuple((card, count - freed.get(card, 0)) for card, count in takes) if freed else takes
