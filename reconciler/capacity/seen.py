"""What was seen of cards, added up: bytes in use, what an engine's processes hold, and what a load took."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from reconciler.fleet import CardFacts


def used_together(cards: Sequence[CardFacts | None]) -> int | None:
    """Bytes in use on all of these; None where there is none, or one was not read."""
    together = 0
    for card in cards:
        if card is None or card.used_bytes is None:
            return None
        together += card.used_bytes
    return together if cards else None


def taken_between(looks: Sequence[tuple[CardFacts, CardFacts]], engine: str) -> tuple[int | None, bool]:
    """The bytes that cards lost between two looks: of the engine's own processes (True) where both looks show those, else altogether."""
    attributed = all(_is_attributed(card) for look in looks for card in look)
    if attributed and any(_held_by(engine, now) for _, now in looks):
        return sum(_held_by(engine, now) - _held_by(engine, was) for was, now in looks), True
    before, after = used_together([was for was, _ in looks]), used_together([now for _, now in looks])
    return (None if before is None or after is None else after - before), False


def without_foreign(cards: Iterable[tuple[int | None, int | None]]) -> int:
    """What these cards have together but for foreign use, by (total, foreign)."""
    return sum((total or 0) - (foreign or 0) for total, foreign in cards)


def in_use(told: int | None, held: int, foreign: int | None) -> int:
    """What is in use of a card: what it tells, else what the plan counts and what is known of others."""
    return told if told is not None else held + (foreign or 0)


def foreign_allowed(declared: int, shares: Iterable[int | None]) -> int:
    """What may be seen as foreign on a card: as declared, and the shares of engines that are only looked at."""
    return declared + sum(share or 0 for share in shares)


def _is_attributed(card: CardFacts) -> bool:
    """Whether all processes of the card are seen, with their sizes."""
    return card.processes is not None and all(process.used_bytes is not None for process in card.processes)


def _held_by(engine: str, card: CardFacts) -> int:
    return sum(process.used_bytes or 0 for process in card.processes or () if process.engine == engine)
