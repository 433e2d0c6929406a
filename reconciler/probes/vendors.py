"""Ids of the cards of a node, unique though each vendor's tool counts its own from 0."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from itertools import count

from reconciler.fleet import CardFacts, CardId, CardSpec


def told_apart(by_vendor: Mapping[str, Sequence[CardFacts]]) -> tuple[CardFacts, ...]:
    """All cards of a node. Where two vendors give one index, every card is called by its vendor (`nvidia0`, `amd0`), and its
    `number` counts on over the vendors in this order, so that an index of the inventory still means one card."""
    every = [card for cards in by_vendor.values() for card in cards]
    indices = [card.index for card in every]
    if len(set(indices)) == len(indices) or sum(bool(cards) for cards in by_vendor.values()) < 2:
        return tuple(every)
    found: list[CardFacts] = []
    first = 0
    for vendor, cards in by_vendor.items():
        numbers = [first + card.index for card in cards if isinstance(card.index, int)]
        found += [replace(card, index=f"{vendor}{card.index}", number=number) for card, number in zip(cards, numbers, strict=True)]
        first = max(numbers, default=first - 1) + 1
    return tuple(found)


def told_once(cards: Sequence[CardFacts]) -> tuple[tuple[CardFacts, ...], tuple[str, ...]]:
    """The cards with an id each, and a sentence for each that a tool told under the id of another: one of the same UUID is the same card
    and left out, any other is called `0-2`, `0-3`."""
    found: dict[CardId, CardFacts] = {}
    by_uuid: dict[str, CardId] = {}
    notes: list[str] = []
    taken = {card.index for card in cards}
    for card in cards:
        known = by_uuid.get(card.uuid) if card.uuid is not None and card.mig_parent is None else None
        if known is not None:
            notes.append(f"card {known} ({card.uuid}) is told twice, also as card {card.index}")
            continue
        index = card.index
        if index in found:
            index = next(name for name in (f"{card.index}-{number}" for number in count(2)) if name not in taken)
            taken.add(index)
            notes.append(f"two cards are told as card {card.index}: {card.uuid or 'the later'} is called {index}")
        found[index] = replace(card, index=index)
        if card.uuid is not None and card.mig_parent is None:
            by_uuid[card.uuid] = index
    return tuple(found.values()), tuple(notes)


def declared_as(cards: Sequence[CardFacts], specs: Collection[CardSpec]) -> tuple[CardFacts, ...]:
    """The cards with the numbers that the inventory gives them, where they have names for ids: by the model that it writes beside an index,
    which says more than the order in which the tools were asked."""
    named = [card for card in cards if card.number is not None]
    numbers: dict[CardId, int] = {}
    for spec in specs if named else ():
        fitting = [card for card in named if card.index not in numbers and alike(card.name, spec.name)]
        if fitting and isinstance(spec.index, int):
            numbers[next((card for card in fitting if card.number == spec.index), fitting[0]).index] = spec.index
    spare = sorted({card.number for card in named if card.number is not None} - set(numbers.values()))
    for card in sorted((card for card in named if card.index not in numbers), key=lambda card: card.number not in spare):
        if spare:
            numbers[card.index] = spare.pop(spare.index(card.number) if card.number in spare else 0)
    return tuple(replace(card, number=numbers.get(card.index)) for card in cards)


def alike(one: str | None, other: str | None) -> bool:
    """Whether two names may mean one card: `RTX 4090` and `NVIDIA GeForce RTX 4090`, and one of several that a tool lists for its chip
    (`Navi 31 [Radeon RX 7900 XT/7900 XTX]` is an `RX 7900 XTX`)."""
    if one is None or other is None:
        return False
    first, second = (_plain(name) for name in (one, other))
    if first in second or second in first:
        return True
    listed, plain = (one, second) if "/" in one else (other, first)
    models = [_plain(part) for part in listed.rpartition("[")[2].rstrip("] ").split("/")]
    return len(models) > 1 and any(model in plain or plain in model for model in models)


def _plain(name: str) -> str:
    return "".join(name.lower().split())
