"""VRAM arithmetic: what a simulated card holds, who holds it, and how it comes back."""

from __future__ import annotations

from collections.abc import Sequence

from reconciler.sim.errors import OutOfMemory


class Card:
    """A card, or the RAM of a node. All figures in bytes; `total` None holds anything.

    `foreign` belongs to programs outside the fleet and may be set at any time, also above what is free: nobody is asked, as on a real
    card, and nothing of ours leaves for it; there is just no room left.
    """

    def __init__(self, name: str, total: int | None, foreign: int = 0, compute_capability: str | None = None) -> None:
        self.name = name
        self.total = total
        self.foreign = foreign
        self.compute_capability = compute_capability
        self._held: dict[Allocation, int] = {}

    @property
    def allocated(self) -> int:
        """What the engines hold, memory on its way back included."""
        return sum(tuple(self._held.values()))

    @property
    def used(self) -> int:
        return self.foreign + self.allocated

    @property
    def free(self) -> int:
        """Never negative. Larger than any model where the total is not limited."""
        return 2**62 if self.total is None else max(0, self.total - self.used)


class Allocation:
    """Bytes that one process holds on some cards, until `free`."""

    def __init__(self, parts: Sequence[tuple[Card, int]]) -> None:
        """Takes all parts or none. Raises OutOfMemory naming the first card without room."""
        for card, count in parts:
            if count > card.free:
                raise OutOfMemory(f"{card.name}: {count} bytes asked for, {card.free} free")
        self.parts = tuple((card, count) for card, count in parts if count > 0)
        for card, count in self.parts:
            card._held[self] = card._held.get(self, 0) + count

    @property
    def bytes(self) -> int:
        return sum(count for _, count in self.parts)

    def free(self) -> None:
        """Gives everything back; harmless when done twice."""
        for card, _ in self.parts:
            card._held.pop(self, None)


def split(count: int, cards: Sequence[Card], margin: int = 0) -> list[tuple[Card, int]]:
    """`count` bytes over cards in proportion to what is free on each, as llama.cpp's default tensor split does.

    Raises OutOfMemory when they have not that much together, `margin` kept free on each.
    """
    room = [(card, max(0, card.free - margin)) for card in cards]
    whole = sum(free for _, free in room)
    if count > whole:
        raise OutOfMemory(f"{count} bytes asked for, {whole} free on {', '.join(card.name for card in cards) or 'no card'}")
    if not count:
        return []
    parts = [count * free // whole for _, free in room]
    rest = count - sum(parts)
    for index, (_, free) in enumerate(room):
        more = min(rest, free - parts[index])
        parts[index] += more
        rest -= more
    return [(card, part) for (card, _), part in zip(room, parts, strict=True) if part]
