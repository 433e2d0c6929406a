"""In which order the places of agents are taken: by the strategy of the fleet, kept up to date while agents are placed."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from reconciler.capacity import Card, EngineState
from reconciler.fleet import Strategy
from reconciler.placement.agents.offers import Offer, is_full
from reconciler.placement.warmth import warmth

Key = tuple[float, ...]


@dataclass(slots=True)
class AgentLoad:
    """How many agents use each card, each engine, and run on each node, so far."""

    agents: dict[Card, int] = field(default_factory=dict)
    users: Counter[EngineState] = field(default_factory=Counter)
    on_node: Counter[str] = field(default_factory=Counter)

    def add(self, node: str, offer: Offer | None) -> None:
        self.on_node[node] += 1
        for card in offer.cards if offer is not None else ():
            self.agents[card] = self.agents.get(card, 0) + 1
        if offer is not None and offer.slot is not None:
            self.users[offer.slot] += 1

    def of(self, offer: Offer) -> tuple[int, int]:
        """The agents on the fullest of its cards, and those of its engine."""
        return max((self.agents.get(card, 0) for card in offer.cards), default=0), self.users[offer.slot] if offer.slot is not None else 0


class OfferOrder(Protocol):
    def next(self) -> Offer | None:
        """The best offer that can take one more agent; the caller adds that to the load before it asks again."""
        ...


class Ranked:
    """The smallest key first: a heap whose keys are brought up to date when they are looked at, since they only grow."""

    def __init__(self, offers: Sequence[Offer], load: AgentLoad, key: Callable[[Offer], Key], has_room: Callable[[Offer], bool]) -> None:
        self._key, self._load, self._has_room = key, load, has_room
        self._heap = [(key(offer), position, offer) for position, offer in enumerate(offers)]
        heapq.heapify(self._heap)

    def next(self) -> Offer | None:
        while self._heap:
            key, position, offer = self._heap[0]
            if is_full(offer.cards, self._load.agents) or not self._has_room(offer):
                heapq.heappop(self._heap)
                continue
            now = self._key(offer)
            if now == key:
                return offer
            heapq.heapreplace(self._heap, (now, position, offer))
        return None


class RoundRobinOffers:
    """The one after the last one taken, in name order. `last` was taken last by an earlier plan, as far as anybody knows."""

    def __init__(self, offers: Sequence[Offer], load: AgentLoad, has_room: Callable[[Offer], bool], last: str | None) -> None:
        self._offers, self._load, self._has_room = offers, load, has_room
        self._next = next((position for position, offer in enumerate(offers) if last is not None and offer.where > last), 0)

    def next(self) -> Offer | None:
        for offset in range(len(self._offers)):
            position = (self._next + offset) % len(self._offers)
            offer = self._offers[position]
            if not is_full(offer.cards, self._load.agents) and self._has_room(offer):
                self._next = position + 1
                return offer
        return None


def order_of(
    offers: Sequence[Offer],
    strategy: Strategy,
    load: AgentLoad,
    has_room: Callable[[Offer], bool],
    is_near: Callable[[Offer], bool],
    last: str | None,
    hysteresis: float | None,
) -> OfferOrder:
    """The order of a strategy over offers. Of equally good ones those come first that are on a node where the agent may run.

    `temperature` takes the coolest cards first; cards within the hysteresis of the coolest are as cool as it, so that a degree more or less
    decides nothing. An agent that is placed stays where it is, however warm that becomes.
    """
    if strategy is Strategy.ROUND_ROBIN:
        return RoundRobinOffers(sorted(offers, key=lambda offer: offer.where), load, has_room, last)
    heats = warmth(offers, lambda offer: offer.cards, hysteresis) if strategy is Strategy.TEMPERATURE else None

    def key(offer: Offer) -> Key:
        agents, users = load.of(offer)
        heat = heats[offer] if heats is not None else 0.0
        return heat, float(agents), float(users), 0.0 if is_near(offer) else 1.0, offer.used_fraction

    return Ranked(offers, load, key, has_room)
