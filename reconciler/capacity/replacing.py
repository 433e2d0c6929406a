"""Which containers may run beside those that they replace, by the room of their cards. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence, Set

from reconciler.capacity.cards import Card
from reconciler.fleet import CardId
from reconciler.value_class import value_class

CardAt = tuple[str, CardId]
"""A card: its node, and its index there."""


@value_class
class Replacement:
    """A container that may be replaced. `holds` are bytes that the old one has of its cards, of one card perhaps more than once; `given`
    the cards that the new one gets. `drifted`: its files ask for what they asked for before."""

    address: str
    holds: tuple[tuple[CardAt, int], ...]
    given: Set[CardAt]
    drifted: bool


def spare_bytes(cards: Sequence[Card], leaving: Iterable[tuple[str, str, int]]) -> Mapping[CardAt, int]:
    """What nothing has of each card at any time of a plan: what is left when it is carried out, without what leaves a card at some time
    of it (the node, the card's UUID, the bytes). Cards of which nobody knows it are left out."""
    spare = {(card.node, card.index): card.free for card in cards if card.usable is not None}
    at = {(card.node, card.facts.uuid): (card.node, card.index) for card in cards if card.facts is not None}
    for node, uuid, count in leaving:
        if (card := at.get((node, uuid))) in spare:
            spare[card] -= count
    return spare


def with_room_for_both(every: Iterable[Replacement], spare: Mapping[CardAt, int]) -> Set[str]:
    """The addresses of those whose cards have room for the old one and the new one at a time.

    What one of them is granted the next one has not: those that the files change come before those that may only have drifted.
    """
    taken: dict[CardAt, int] = defaultdict(int)
    found: set[str] = set()
    for one in sorted(every, key=lambda one: (one.drifted, one.address)):
        own: dict[CardAt, int] = defaultdict(int)
        for card, count in one.holds:
            own[card] += count
        if all(card in spare and spare[card] >= taken[card] + own[card] for card in one.given & own.keys()):
            for card, count in own.items():
                taken[card] += count
            found.add(one.address)
    return found
