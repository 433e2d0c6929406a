"""Strategies: which of the engines with room is taken. Each is an order over engines that is kept up to date as replicas are charged.

All are deterministic (ties go by name) and cost O(log n) or a short scan a pick, so that ten thousand engines are no special case.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left, insort
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from reconciler.capacity import EngineState
from reconciler.fleet import NO_PREFERENCE, ONLY_LOAD, Prefer, Strategy, Weights, card_speed, slowest
from reconciler.placement.warmth import warmth
from reconciler.value_class import value_class


class EngineOrder(Protocol):
    """An order over engines. `candidates(need)` yields them best first, each once; the caller charges those that it takes and says so with
    `taken`, and ends the pass with `settle`."""

    def candidates(self, need: int) -> Iterator[EngineState]: ...

    def taken(self, slot: EngineState) -> None: ...

    def settle(self) -> None: ...


class LeastLoaded:
    """Smallest largest used fraction first: a heap whose keys are brought up to date when they are looked at. `key` gives another measure
    that, like it, only grows as engines are charged."""

    def __init__(self, slots: Sequence[EngineState], key: Callable[[EngineState], float] = lambda slot: slot.used_fraction) -> None:
        self._key = key
        self._heap = [(key(slot), position, slot) for position, slot in enumerate(slots)]
        heapq.heapify(self._heap)
        self._aside: list[tuple[float, int, EngineState]] = []

    def candidates(self, need: int) -> Iterator[EngineState]:
        while self._heap:
            key, position, slot = heapq.heappop(self._heap)
            now = self._key(slot)
            if now > key and self._heap and (now, position) > self._heap[0][:2]:
                heapq.heappush(self._heap, (now, position, slot))
                continue
            self._aside.append((now, position, slot))
            yield slot

    def taken(self, slot: EngineState) -> None:
        pass

    def settle(self) -> None:
        for _, position, slot in self._aside:
            heapq.heappush(self._heap, (self._key(slot), position, slot))
        self._aside.clear()


class BestFit:
    """Least free bytes that are enough first (binpack), of the cards or for `ram` of the node's RAM: a sorted list searched by need."""

    def __init__(self, slots: Sequence[EngineState], ram: bool = False) -> None:
        self._ram = ram
        self._position = {slot: position for position, slot in enumerate(slots)}
        self._keys = {slot: self._key(slot) for slot in slots}
        self._sorted = sorted((*key, slot) for slot, key in self._keys.items())

    def _key(self, slot: EngineState) -> tuple[int, int]:
        free = slot.ram.free if self._ram or not slot.cards else max(slot.room(card) for card in slot.cards)
        return free, self._position[slot]

    def candidates(self, need: int) -> Iterator[EngineState]:
        pooled = bisect_left(self._sorted, (need, -1))
        enough, less = self._sorted[pooled:], self._sorted[:pooled]  # as they are now: what is taken on the way changes its place
        for _, _, slot in enough:
            yield slot
        for _, _, slot in reversed(less):
            if not self._ram and slot.cards is not None and len(slot.cards) > 1:
                yield slot

    def taken(self, slot: EngineState) -> None:
        old = (*self._keys[slot], slot)
        position = bisect_left(self._sorted, old[:2])
        del self._sorted[position]
        self._keys[slot] = self._key(slot)
        insort(self._sorted, (*self._keys[slot], slot))

    def settle(self) -> None:
        pass


class RoundRobin:
    """The next engine after the last one taken, in name order."""

    def __init__(self, slots: Sequence[EngineState]) -> None:
        self._slots = slots
        self._position = {slot: position for position, slot in enumerate(slots)}
        self._next = 0

    def candidates(self, need: int) -> Iterator[EngineState]:
        start = self._next
        for offset in range(len(self._slots)):
            yield self._slots[(start + offset) % len(self._slots)]

    def taken(self, slot: EngineState) -> None:
        self._next = (self._position[slot] + 1) % len(self._slots)

    def settle(self) -> None:
        pass


@value_class
class Wish:
    """What an order goes by: the strategy, for what sits on cards or in RAM, and where a model goes first. `hysteresis`, in degrees, is how
    far apart cards must be that one counts as warmer (None: the usual)."""

    strategy: Strategy
    ram: bool = False
    hysteresis: float | None = None
    weights: Weights = ONLY_LOAD
    prefer: Prefer = NO_PREFERENCE


def order_of(slots: Sequence[EngineState], wish: Wish) -> EngineOrder:
    """The order of a strategy, what a model prefers first and the engines on hot or full cards after all others."""

    def by_strategy(some: Sequence[EngineState]) -> EngineOrder:
        match wish.strategy:
            case Strategy.BINPACK:
                return BestFit(some, wish.ram)
            case Strategy.ROUND_ROBIN:
                return RoundRobin(some)
            case Strategy.TEMPERATURE:
                return coolest_first(some, wish.ram, wish.hysteresis)
            case Strategy.WEIGHTED:
                return LeastLoaded(some, weighed(some, wish.weights))
            case _:
                return LeastLoaded(some)

    def preferred(some: Sequence[EngineState]) -> EngineOrder:
        if wish.prefer.speed:
            return in_turn(some, lambda slot: -speed_of(slot), by_strategy)
        return in_turn(some, lambda slot: wish.prefer.rank(slot.id.node), by_strategy) if wish.prefer.nodes else by_strategy(some)

    return hot_last(slots, preferred)


def speed_of(slot: EngineState) -> float:
    """How fast the slowest card of an engine is, as `card_speed` has it."""
    facts = [card.facts for card in slot.cards or ()]
    return slowest(card_speed(one.name, one.compute_capability) if one is not None else 0.0 for one in facts)


def weighed(slots: Sequence[EngineState], weights: Weights) -> Callable[[EngineState], float]:
    """What an engine costs by the strategy `weighted`: each thing from 0 (the best) to 1, times its weight. Temperature is per 100 °C, cost
    and speed against the dearest and the fastest of these engines; what is not known counts as the worst."""
    fastest = max((speed_of(slot) for slot in slots), default=0.0)
    dearest = max((slot.node.cost for slot in slots), default=0.0)
    fixed = {}
    for slot in slots:
        facts = [card.facts for card in slot.cards or () if card.facts is not None]
        warm = max((1.0 if one.temperature is None else one.temperature / 100 for one in facts), default=1.0)
        busy = max((1.0 if one.utilisation is None else one.utilisation for one in facts), default=1.0)
        slow = 1.0 - speed_of(slot) / fastest if fastest else 1.0
        cost = slot.node.cost / dearest if dearest else 0.0
        fixed[slot] = weights.temperature * warm + weights.utilisation * busy + weights.speed * slow + weights.cost * cost
    return lambda slot: fixed[slot] + weights.load * slot.used_fraction


def coolest_first(slots: Sequence[EngineState], ram: bool, hysteresis: float | None) -> EngineOrder:
    """The coolest cards first, of those as cool as each other the least loaded; what nobody can tell the temperature of comes last."""
    heats = warmth(slots, lambda slot: () if ram else slot.cards or (), hysteresis)
    return in_turn(slots, heats.__getitem__, LeastLoaded)


def hot_last(slots: Sequence[EngineState], strategy: Callable[[Sequence[EngineState]], EngineOrder]) -> EngineOrder:
    """The engines on hot or full cards after all others."""
    return in_turn(slots, lambda slot: float(slot.hot), strategy)


def in_turn(
    slots: Sequence[EngineState], group: Callable[[EngineState], float], strategy: Callable[[Sequence[EngineState]], EngineOrder]
) -> EngineOrder:
    """The engines group by group, the lowest first, each in the order of a strategy."""
    groups: dict[float, list[EngineState]] = {}
    for slot in slots:
        groups.setdefault(group(slot), []).append(slot)
    if len(groups) < 2:
        return strategy(slots)
    return InTurn([(some, strategy(some)) for _, some in sorted(groups.items())])


class InTurn:
    """Several orders, one after the other."""

    def __init__(self, parts: Sequence[tuple[Sequence[EngineState], EngineOrder]]) -> None:
        self._orders = [order for _, order in parts]
        self._order_of = {slot: order for slots, order in parts for slot in slots}

    def candidates(self, need: int) -> Iterator[EngineState]:
        for order in self._orders:
            yield from order.candidates(need)

    def taken(self, slot: EngineState) -> None:
        self._order_of[slot].taken(slot)

    def settle(self) -> None:
        for order in self._orders:
            order.settle()
