"""How warm cards are, in steps so wide that a degree more or less decides nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from reconciler.capacity import Card

T = TypeVar("T")
USUAL_HYSTERESIS = 5.0
"""Degrees within which cards are as cool as each other, where `policy.thermal.hysteresis` says nothing."""


def warmth(places: Sequence[T], cards: Callable[[T], Sequence[Card]], hysteresis: float | None) -> dict[T, float]:
    """How many hystereses the warmest card of each place is above the coolest place; infinity where nobody can tell how warm one is."""
    width = hysteresis or USUAL_HYSTERESIS
    seen = {place: _temperature(cards(place)) for place in places}
    coolest = min((degrees for degrees in seen.values() if degrees is not None), default=0.0)
    return {place: float("inf") if degrees is None else (degrees - coolest) // width for place, degrees in seen.items()}


def _temperature(cards: Sequence[Card]) -> float | None:
    found = [card.facts.temperature if card.facts is not None else None for card in cards]
    known = [degrees for degrees in found if degrees is not None]
    return max(known) if known and len(known) == len(found) else None
