"""Cards that were given to agents: what those hold stays charged while models are placed."""

from __future__ import annotations

from collections.abc import Iterable

from reconciler.capacity.cards import Card, CardHolding
from reconciler.capacity.occupancy import Occupancy
from reconciler.value_class import value_class


@value_class
class GivenCard:
    """A card, by UUID, that an agent was given, with the bytes that it may take there. `running`: what it takes is among what was seen of
    the card. `stays` False: it leaves before any model is loaded there."""

    address: str
    node: str
    uuid: str
    bytes: int
    running: bool
    stays: bool


def charge_given(board: Occupancy, given: Iterable[GivenCard]) -> None:
    """Charges each agent that stays to its card, and keeps that by its address in `board.own_cards`.

    What a running agent takes is seen as foreign use of the card, and is never told apart from that of others: as many bytes of the foreign
    use as it is charged with count as its own, so that at least what is really used is counted, and at least what was promised.
    """
    given = [*given]
    if not given:
        return
    cards = {(card.node, card.facts.uuid): card for card in board.cards if card.facts is not None and card.facts.uuid is not None}
    for one in sorted(given, key=lambda one: one.address):
        card = cards.get((one.node, one.uuid))
        if card is None:
            continue
        if one.running and not card.assumed:
            card.foreign = max(0, card.foreign - one.bytes)
        if one.stays:
            board.own_cards[one.address] = holding = CardHolding(((card, one.bytes),))
            board.put(holding)


def fits_alone(card: Card, count: int) -> bool:
    """Whether a card has so many bytes left for what is no model."""
    return card.usable is not None and card.free >= count
