"""Drawings by seed. What is planted fits to the byte by construction: each card is cut into pieces, then a story is told of how it came."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from types import MappingProxyType

from planted.instance import GIB, MIB, Cards, Instance, Piece, card_of, instance
from reconciler.fleet import EngineId, EngineKind, Requirements, Spread

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
        self.engines = list(of.engines())
        for piece in pieces:
            if piece.now is not None:
                self.put(piece, piece.now)

    def put(self, piece: Piece, at: EngineId) -> None:
        piece.now = at
        self.left[card_of(at)] -= piece.size

    def put_somewhere(self, chance: random.Random, piece: Piece) -> bool:
        """On the emptiest of a few drawn engines with room: how residents are spread by a strategy that thinks of today only."""
        fitting = [at for at in chance.sample(self.engines, min(8, len(self.engines))) if self.left[card_of(at)] >= piece.size]
        if not fitting:
            return False
        self.put(piece, max(fitting, key=lambda at: (self.left[card_of(at)], at)))
        return True


def empty(chance: random.Random, count: int, share: float) -> tuple[Cards, list[Piece]]:
    """Nothing is loaded yet."""
    of = cards(chance, count)
    return of, planted(chance, of, share)


def churn(chance: random.Random, count: int, share: float) -> tuple[Cards, list[Piece]]:
    """All but 15% is loaded where it is planted; in the place of most of the rest are models that the files want no more."""
    of = cards(chance, count)
    pieces = planted(chance, of, share)
    gone: list[Piece] = []
    for piece in pieces:
        if chance.random() >= 0.15:
            piece.now = piece.planted
        elif chance.random() < 0.7:
            gone.append(Piece(max(LEAST, int(piece.size * chance.uniform(0.5, 1.0)) // MIB * MIB), None, piece.planted, wanted=False))
    return of, [*pieces, *(one for one in gone if one.size > LEAST)]


def fragmented(chance: random.Random, count: int, share: float) -> tuple[Cards, list[Piece]]:
    """On half the cards something large is new; what is small is spread, so that much of it stands in the way of that."""
    of = cards(chance, count)
    sizes = catalogue(chance)
    pieces: list[Piece] = []
    large: list[Piece] = []
    engines = list(of.engines().items())
    for (at, size), level in zip(engines, levels(chance, len(engines), share), strict=True):
        room = int(size * level)
        if chance.random() < 0.5:
            large.append(Piece(int(size * chance.uniform(0.5, 0.85)) // MIB * MIB, at))
            room -= large[-1].size
        small = [one for one in sizes if one <= size * 0.3]
        pieces += (Piece(one, at) for one in cut(chance, room, small or sizes[:1], most=8))
    rest = []
    for piece in pieces:
        if chance.random() < 0.55:
            piece.now = piece.planted
        else:
            rest.append(piece)
    room_left = Room(of, pieces)
    for piece in sorted(rest, key=lambda one: -one.size):
        room_left.put_somewhere(chance, piece)
    return of, [*pieces, *large]


def priorities(chance: random.Random, count: int, share: float) -> tuple[Cards, list[Piece]]:
    """Two engines a card, three priorities. What is loaded is of low priority and stands anywhere; in half of the fleets there is more of
    the lowest than there is room for."""
    of = cards(chance, count, (chance.choice((EngineKind.OLLAMA, EngineKind.LLAMACPP)),))
    pieces = planted(chance, of, share, (0, 0, 1, 2))
    low = [piece for piece in pieces if piece.priority < 2]
    for piece in low:
        if chance.random() < 0.5:
            piece.now = piece.planted
    room = Room(of, pieces)
    for piece in low:
        if piece.now is None and chance.random() < 0.6:
            room.put_somewhere(chance, piece)
    surplus: list[Piece] = []
    if chance.random() < 0.5:
        sizes = catalogue(chance)
        for _ in range(count // 2):
            one = Piece(chance.choice(sizes[:7]), None)
            if room.put_somewhere(chance, one):
                surplus.append(one)
    return of, [*pieces, *surplus]


def shapes(chance: random.Random, count: int, share: float) -> tuple[Cards, list[Piece]]:
    """Most of what else bounds a place: other programs, residents that nobody asked for, a vLLM's share, engines that take so many models
    or so many bytes, models that need a large card or must stand on nodes apart, and some that are protected. All but 15% is loaded, a
    third of that elsewhere than planted."""
    of = cards(chance, count, (EngineKind.OLLAMA, EngineKind.VLLM))
    sizes = catalogue(chance)
    pieces: list[Piece] = []
    foreign: dict[tuple[str, int], int] = {}
    shares: dict[EngineId, Fraction] = {}
    by_card: dict[tuple[str, int], list[EngineId]] = defaultdict(list)
    for at in of.engines():
        by_card[card_of(at)].append(at)
    for (card, (first, second, vllm)), level in zip(sorted(by_card.items()), levels(chance, len(by_card), share), strict=True):
        whole = of.nodes[card[0]][card[1]]
        foreign[card] = chance.choice((0, 0, GIB, 2 * GIB))
        room = whole - foreign[card]
        if chance.random() < 0.25:
            shares[vllm] = chance.choice((Fraction(1, 4), Fraction(1, 2)))
            room -= int(shares[vllm] * whole)
        if chance.random() < 0.25 and room > 6 * GIB:
            stranger = chance.choice(sizes[:3])
            pieces.append(Piece(stranger, None, chance.choice((first, second)), wanted=False, ours=False))
            room -= stranger
        for size in cut(chance, int(room * level), sizes, chance.choice((2, 3, 4))):
            fields: dict[str, object] = {}
            if chance.random() < 0.3:
                fields |= {"spread": Spread.NODE, "spread_hard": True}
            if chance.random() < 0.2:
                fields["requires"] = Requirements(vram=whole)
            now = at = chance.choice((first, second))
            if chance.random() < 0.15:
                now = None
            elif chance.random() < 0.1:
                fields["protect"] = True
            pieces.append(Piece(size, at, now, priority=chance.choice((0, 0, 1)), fields=fields))
    elsewhere = [piece for piece in pieces if piece.now is not None and piece.ours and not piece.fields and chance.random() < 0.33]
    for piece in elsewhere:
        piece.now = None
    left = Room(
        of, pieces, {card: foreign[card] + int(shares.get(some[2], 0) * of.nodes[card[0]][card[1]]) for card, some in by_card.items()}
    )
    left.engines = [at for some in by_card.values() for at in some[:2]]
    for piece in elsewhere:
        left.put_somewhere(chance, piece)
    often = {at: [0, 0] for at in left.engines}
    held = {at: [0, 0] for at in left.engines}
    for piece in pieces:
        for when, at in enumerate((piece.planted if piece.ours else piece.now, piece.now)):
            if at is not None:
                often[at][when] += 1
                held[at][when] += piece.size
    most = {at: max(1, *counts) + chance.choice((0, 1)) for at, counts in often.items() if chance.random() < 0.3}
    limits = {at: max(GIB, *sums) + chance.choice((0, GIB)) for at, sums in held.items() if chance.random() < 0.3}
    return replace(of, foreign=foreign, most=most, limits=limits, shares=shares), pieces


def changed(chance: random.Random, count: int, share: float) -> tuple[Cards, list[Piece]]:
    """All is loaded where it is planted but one small model, which is new and fits somewhere as it stands."""
    of = cards(chance, count)
    pieces = planted(chance, of, share)
    for piece in pieces:
        piece.now = piece.planted
    room = Room(of, pieces)
    at = max(room.engines, key=lambda one: (room.left[card_of(one)], one))
    return of, [*pieces, Piece(room.left[card_of(at)] // 2 // MIB * MIB, at)]


Story = Callable[[random.Random, int, float], tuple[Cards, list[Piece]]]
STORIES: Mapping[str, Story] = {
    "empty": empty,
    "churn": churn,
    "fragmented": fragmented,
    "priorities": priorities,
    "shapes": shapes,
    "changed": changed,
}
SHARES = {
    "empty": (0.80, 0.95),
    "churn": (0.90, 0.97),
    "fragmented": (0.85, 0.93),
    "priorities": (0.85, 0.95),
    "shapes": (0.90, 0.98),
    "changed": (0.85, 0.95),
}
"""How full the planted placement makes the cards: from, to."""


@dataclass(frozen=True, slots=True)
class Group:
    """Instances of one story: for each number of cards and each seed one. `share` None: drawn from those of the story."""

    title: str
    story: str
    cards: tuple[int, ...]
    seeds: range
    share: float | None = None

    def draw(self, count: int, seed: int) -> Instance:
        chance = random.Random(f"{self.story} {count} {seed}")  # a fleet to measure with, not a secret
        low, high = SHARES[self.story] if self.share is None else (self.share, self.share)
        of, pieces = STORIES[self.story](chance, count, chance.uniform(low, high))
        return instance(f"{self.story}-{count}-{seed}", of, pieces, chance)

    def instances(self) -> list[Callable[[], Instance]]:
        return [lambda count=count, seed=seed: self.draw(count, seed) for count in self.cards for seed in self.seeds]  # type: ignore[misc]


SMALL = (4, 8, 16, 32)
GROUPS = (
    *(Group(f"{story}, to 32 cards", story, SMALL, range(9)) for story in STORIES if story != "changed"),
    Group("shapes, 100 cards", "shapes", (100,), range(3)),
    Group("empty, 100 cards", "empty", (100,), range(3)),
    Group("churn, 100 cards", "churn", (100,), range(3)),
    Group("fragmented, 100 cards", "fragmented", (100,), range(3)),
    Group("priorities, 100 cards", "priorities", (100,), range(3)),
    Group("empty 92%, 300 cards", "empty", (300,), range(3), 0.92),
    Group("churn 92%, 300 cards", "churn", (300,), range(3), 0.92),
    Group("fragmented 88%, 300 cards", "fragmented", (300,), range(3), 0.88),
    Group("empty 92%, 1,000 cards", "empty", (1000,), range(3), 0.92),
    Group("churn 92%, 1,000 cards", "churn", (1000,), range(1), 0.92),
    Group("fragmented 88%, 1,000 cards", "fragmented", (1000,), range(1), 0.88),
    Group("changed 92%, 1,000 cards", "changed", (1000,), range(1), 0.92),
)
