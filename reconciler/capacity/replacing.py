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
    the cards that the new one gets, and `takes` its bytes of them (None: as many). `drifted`: its files ask for what they asked for
    before."""

    address: str
    holds: tuple[tuple[CardAt, int], ...]
    given: Set[CardAt]
    drifted: bool
    takes: tuple[tuple[CardAt, int], ...] | None = None


def spare_bytes(cards: Sequence[Card], leaving: Iterable[tuple[str, str, int]]) -> Mapping[CardAt, int]:
    """What nothing has of each card at any time of a plan: what is left when it is carried out, without what leaves a card at some time
    of it (the node, the card's UUID, the bytes). Cards of which nobody knows it are left out."""
    spare = {(card.node, card.index): card.free for card in cards if card.usable is not None}
    at = {(card.node, card.facts.uuid): (card.node, card.index) for card in cards if card.facts is not None}
    for node, uuid, count in leaving:
        if (card := at.get((node, uuid))) in spare:
            spare[card] -= count
    return spare


def with_room_for_both(every: Sequence[Replacement], spare: Mapping[CardAt, int]) -> Set[str]:
    """The addresses of those whose cards have room for the old one and the new one at a time, whichever of the others are old or new then.

    What one of them is granted the next one has not: those that the files change come before those that may only have drifted. An old one
    that is larger than its new one may still be there.
    """
    sizes = {one.address: (_by_card(one.holds), _by_card(one.holds if one.takes is None else one.takes)) for one in every}
    taken: dict[CardAt, int] = defaultdict(int)
    for old, new in sizes.values():
        for card, count in old.items():
            taken[card] += max(0, count - new.get(card, 0))
    found: set[str] = set()
    for one in sorted(every, key=lambda one: (one.drifted, one.address)):
        old, new = sizes[one.address]
        smaller = {card: min(count, new.get(card, 0)) for card, count in old.items()}
        if all(card in spare and spare[card] >= taken[card] + smaller[card] for card in one.given & old.keys()):
            for card, count in smaller.items():
                taken[card] += count
            found.add(one.address)
    return found


def _by_card(bytes_of: Iterable[tuple[CardAt, int]]) -> Mapping[CardAt, int]:
    found: dict[CardAt, int] = defaultdict(int)
    for card, count in bytes_of:
        found[card] += count
    return found
