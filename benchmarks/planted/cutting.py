"""How cards are cut into pieces, and how pieces come to stand elsewhere: what the stories of the drawings have in common."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from planted.instance import GIB, MIB, Cards, Piece, card_of
from reconciler.fleet import EngineId, EngineKind

CARD_SIZES = (8, 12, 16, 24, 24, 32, 40, 48, 80)
"""GiB; all cards of a node are alike."""
MODEL_SIZES = (1.1, 2.2, 3.4, 4.9, 6.6, 8.5, 11.0, 14.3, 20.0, 26.0, 42.0)
"""GiB of the usual models, each drawn anew by a tenth for an instance."""
LEAST = 512 * MIB


def cards(chance: random.Random, count: int, beside: tuple[EngineKind, ...] = ()) -> Cards:
    """So many cards, on nodes of one to eight."""
    nodes: dict[str, tuple[int, ...]] = {}
    left = count
    while left:
        here = min(left, chance.choice((1, 2, 2, 4, 8)))
        nodes[f"n{len(nodes):04d}"] = (chance.choice(CARD_SIZES) * GIB,) * here
        left -= here
    return Cards(nodes, beside)


def catalogue(chance: random.Random) -> list[int]:
    """The bytes of an instance's models."""
    return [int(size * chance.uniform(0.9, 1.1) * GIB) // MIB * MIB for size in MODEL_SIZES]


def cut(chance: random.Random, room: int, sizes: Sequence[int], most: int = 6) -> list[int]:
    """Pieces that fill a room to less than LEAST: models as they come, and a last one of just what is left."""
    pieces: list[int] = []
    while room >= LEAST and len(pieces) < most - 1:
        fitting = [size for size in sizes if size <= room]
        if not fitting:
            break
        # Seldom the smallest ones: a card full of them is no question.
        pieces.append(chance.choice(fitting[-6:]))
        room -= pieces[-1]
    if room >= LEAST:
        pieces.append(room // MIB * MIB)
    return pieces


def levels(chance: random.Random, count: int, share: float) -> list[float]:
    """How full each of so many cards is: `share` in the mean, some of them to the last byte."""
    spread = min(1 - share, 0.08)
    return [min(1.0, share + chance.choice((-1, 0, 1)) * spread) for _ in range(count)]


def planted(chance: random.Random, of: Cards, share: float, priorities: Sequence[int] = (0,)) -> list[Piece]:
    """Pieces that fill the cards to `share`, each with its place; of the engines of a card any one has it."""
    by_card: dict[tuple[str, int], list[EngineId]] = defaultdict(list)
    for at in of.engines():
        by_card[card_of(at)].append(at)
    sizes = catalogue(chance)
    pieces = []
    for (card, engines), level in zip(sorted(by_card.items()), levels(chance, len(by_card), share), strict=True):
        size = of.nodes[card[0]][card[1]]
        for piece in cut(chance, int(size * level), sizes, chance.choice((2, 3, 4, 6))):
            pieces.append(Piece(piece, chance.choice(engines), priority=chance.choice(priorities)))
    return pieces


class Room:
    """What is left of each card while a drawing puts its residents there."""

    def __init__(self, of: Cards, pieces: Sequence[Piece], taken: Mapping[tuple[str, int], int] = MappingProxyType({})) -> None:
        sizes = {(node, index): size for node, sizes in of.nodes.items() for index, size in enumerate(sizes)}
        self.left = {card: size - taken.get(card, 0) for card, size in sizes.items()}
        self.of, self.engines = of, list(of.engines())
        for piece in pieces:
            if piece.now is not None:
                self.put(piece, piece.now)

    def put(self, piece: Piece, at: EngineId) -> None:
        piece.now = at
        cards = self.of.of(at)
        for card in cards:
            self.left[card] -= -(-piece.size // len(cards))

    def put_somewhere(self, chance: random.Random, piece: Piece) -> bool:
        """On the emptiest of a few drawn engines with room: how residents are spread by a strategy that thinks of today only."""
        fitting = [at for at in chance.sample(self.engines, min(8, len(self.engines))) if self.left[card_of(at)] >= piece.size]
        if not fitting:
            return False
        self.put(piece, max(fitting, key=lambda at: (self.left[card_of(at)], at)))
        return True
