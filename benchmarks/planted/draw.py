"""Drawings by seed. What is planted fits to the byte by construction: each card is cut into pieces, then a story is told of how it came."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from planted.cutting import LEAST, Room, cards, catalogue, cut, levels, planted
from planted.instance import MIB, Cards, Instance, Piece, card_of, instance
from planted.shaped import company, parts, shapes, slices
from reconciler.fleet import EngineKind


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
    "parts": parts,
    "slices": slices,
    "company": company,
    "changed": changed,
}
SHARES = {
    "empty": (0.80, 0.95),
    "churn": (0.90, 0.97),
    "fragmented": (0.85, 0.93),
    "priorities": (0.85, 0.95),
    "shapes": (0.90, 0.98),
    "parts": (0.85, 0.93),
    "slices": (0.88, 0.97),
    "company": (0.85, 0.95),
    "changed": (0.85, 0.95),
}
"""How full the planted placement makes the cards: from, to."""


@dataclass(frozen=True, slots=True)
class Group:
    """Instances of one story: for each number of cards and each seed one. `share` None: drawn from those of the story."""

    title: str
    story: str
    cards: tuple[int, ...]
    seeds: Sequence[int]
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
    *(Group(f"{story}, 100 cards", story, (100,), range(3)) for story in ("shapes", "parts", "slices", "company")),
    Group("empty, 100 cards", "empty", (100,), range(3)),
    Group("churn, 100 cards", "churn", (100,), range(3)),
    Group("fragmented, 100 cards", "fragmented", (100,), range(3)),
    Group("priorities, 100 cards", "priorities", (100,), range(3)),
    Group("empty 92%, 300 cards", "empty", (300,), range(3), 0.92),
    Group("churn 92%, 300 cards", "churn", (300,), range(3), 0.92),
    Group("fragmented 88%, 300 cards", "fragmented", (300,), range(3), 0.88),
    Group("empty 92%, 1,000 cards", "empty", (1000,), range(3), 0.92),
    Group("churn 92%, 1,000 cards", "churn", (1000,), range(3), 0.92),
    Group("fragmented 88%, 1,000 cards", "fragmented", (1000,), range(3), 0.88),
    Group("changed 92%, 1,000 cards", "changed", (1000,), range(3), 0.92),
)
