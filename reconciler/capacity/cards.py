"""A card with what it may hold and what it holds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from reconciler.needs.engine import KnownCard

RAM_INDEX = -1


@dataclass(slots=True, eq=False)
class Card(KnownCard):
    """A card (or a node's RAM) in bytes. `usable` None: its size is not known, or it is at fault, so nothing is added. `held` is what
    replicas and residents take by our arithmetic; foreign use comes on top. `before` is `held` as found. `free_fact` names its free bytes
    in a plan. `most_agents` may have their model, or their own part, on it; None: any number. `is_closed`: its use
    is not known, and the policy adds nothing to such a card.
    `cache` are the bytes of KV caches among what is held, as far as they are known, `cache_before` those as found, `most_cache` how
    many they may be."""

    usable: int | None
    foreign: int
    assumed: bool
    held: int = field(default=0, kw_only=True)
    before: int = field(default=0, kw_only=True)
    most_agents: int | None = field(default=None, kw_only=True)
    is_closed: bool = field(default=False, kw_only=True)
    most_cache: int | None = field(default=None, kw_only=True)
    cache: int = field(default=0, kw_only=True)
    cache_before: int = field(default=0, kw_only=True)
    _free_fact: str = field(default="", init=False)

    @property
    def free_fact(self) -> str:
        if not self._free_fact:
            self._free_fact = f"{self.node}/{'ram' if self.is_ram else self.index}.free_bytes"
        return self._free_fact

    @property
    def is_ram(self) -> bool:
        """Whether this is the node's RAM, which is reckoned with as one more card."""
        return self.index == RAM_INDEX

    @property
    def is_at_fault(self) -> bool:
        """Whether it cannot be used though its size may be known: its driver lost it, or it must be reset. Nothing is added to it."""
        return self.facts is not None and self.facts.fault is not None

    @property
    def free(self) -> int:
        return -1 if self.usable is None else self.usable - self.foreign - self.held

    @property
    def unused(self) -> int:
        """What nobody holds of the whole card, whatever of it may be used; −1 when its size is unknown."""
        return -1 if self.total is None else self.total - self.foreign - self.held

    @property
    def capacity(self) -> int:
        """What all replicas together may take: usable less foreign; −1 when unknown."""
        return -1 if self.usable is None else self.usable - self.foreign

    @property
    def used_fraction(self) -> float:
        """The share of what may be used that is held, or used by others; 1 where its size is unknown."""
        return (self.held + self.foreign) / self.usable if self.usable else 1.0

    @property
    def cache_left(self) -> int | None:
        """Bytes of KV caches that may be added to it; None: any."""
        return None if self.most_cache is None else max(0, self.most_cache - self.cache)

    def cache_percent(self, more: int) -> int | None:
        """The share of it that caches would take with so many bytes more, in whole percent, rounded up; None where its size is unknown."""
        return -(-100 * (self.cache + more) // self.total) if self.total else None

    @property
    def bound(self) -> int:
        """What it may hold at any moment: its capacity, or what it held as found where that was more."""
        return max(self.capacity, self.before)

    @property
    def left(self) -> int:
        """What may be added to it at a moment."""
        return self.bound - self.held

    def left_without(self, gone: int) -> int:
        """The same when so many bytes have left it."""
        return self.left + gone

    @property
    def over(self) -> int:
        """How much more than all replicas together may take it held as found."""
        return max(0, self.before - self.capacity)


Charges = tuple[tuple[Card, int], ...]
"""Bytes by card."""


@dataclass(slots=True, eq=False)
class CardHolding:
    """What takes room of cards and is no model of an engine: an agent with a card of its own."""

    charges: Charges
    there: bool = field(default=False, init=False)


def largest(charges: Charges) -> int | None:
    """The most that is charged to one card; None where nothing is."""
    return max([count for _, count in charges], default=None)


def largest_on_cards(charges: Charges) -> int:
    """The same without what is in RAM, 0 where that is all."""
    return max([count for card, count in charges if card.index != RAM_INDEX], default=0)


def on_card(charges: Charges, card: Card) -> int:
    """The bytes on this card."""
    return sum([count for one, count in charges if one is card])


def on_cards(charges: Charges) -> int:
    """The bytes on all cards together, without those in RAM."""
    return sum([count for card, count in charges if card.index != RAM_INDEX])


def least_left(charges: Charges) -> int:
    """The least that is free of one of these cards after they were charged."""
    return min((card.free - count for card, count in charges), default=0)


def total(charges: Charges) -> int:
    """All bytes together."""
    return sum(count for _, count in charges)


def by_card(several: Iterable[Charges]) -> dict[Card, int]:
    """What several take together of each card."""
    sums: dict[Card, int] = {}
    for charges in several:
        for card, count in charges:
            sums[card] = sums.get(card, 0) + count
    return sums


def raised(charges: Charges, more: int) -> Charges:
    """The same with so many bytes more on each card."""
    return tuple((card, count + more) for card, count in charges)
