"""Drawings of what bounds a place beside bytes: shares, limits, cards used together, slices, agents, and who may be beside whom."""

from __future__ import annotations

import random
from collections import defaultdict
from dataclasses import replace
from fractions import Fraction

from planted.cutting import Room, cards, catalogue, cut, levels, planted
from planted.instance import GIB, MIB, Agent, Cards, Piece, card_of
from reconciler.fleet import EngineId, EngineKind, Requirements, RunOptions, SplitBy, Spread

SLICED = ((40, 40), (40, 20, 20), (20, 20, 20, 20), (40, 10, 10, 10, 10), (20, 20, 10, 10, 10, 10))
"""GiB of the MIG slices that a card of 80 GiB may be cut into."""


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


def parts(chance: random.Random, count: int, share: float) -> tuple[Cards, list[Piece]]:
    """Models that are split over two or four cards, on routers of llama.cpp over these, beside small ones on an Ollama a card. On most of
    the groups of cards a split model is planted and half of those are new; what is small is spread, so that much of it stands in the way of
    a part."""
    nodes: dict[str, tuple[int, ...]] = {}
    over: dict[EngineId, tuple[int, ...]] = {}
    left = count
    while left:
        here = min(left, chance.choice((2, 2, 4, 4, 8)))
        name = f"n{len(nodes):04d}"
        nodes[name] = (chance.choice((12, 16, 24, 24, 48, 80)) * GIB,) * here
        left -= here
        width = chance.choice((2, 4)) if here >= 4 else 2
        over |= {EngineId(name, f"w{first}"): tuple(range(first, first + width)) for first in range(0, here - width + 1, width)}
    of = Cards(nodes, over=over)
    pieces: list[Piece] = []
    taken: dict[tuple[str, int], int] = defaultdict(int)
    for at, together in over.items():
        if chance.random() < 0.6:
            part = int(nodes[at.node][0] * chance.uniform(0.3, 0.7)) // MIB * MIB
            runs = RunOptions(split_cards=len(together), split_by=chance.choice(list(SplitBy)))
            now = at if chance.random() < 0.5 else None
            pieces.append(Piece(part * len(together), at, now, kind=EngineKind.LLAMACPP, fields={"runs": runs}))
            for index in together:
                taken[at.node, index] = part
    sizes = catalogue(chance)
    small: list[Piece] = []
    engines = list(of.engines().items())
    for (at, size), level in zip(engines, levels(chance, len(engines), share), strict=True):
        little = [one for one in sizes if one <= size * 0.4]
        room = int(size * level) - taken[card_of(at)]
        small += (Piece(one, at, kind=EngineKind.OLLAMA) for one in cut(chance, room, little or sizes[:1], most=5))
    for piece in small:
        if chance.random() < 0.55:
            piece.now = piece.planted
    room_left = Room(of, [*pieces, *small])
    for piece in sorted((one for one in small if one.now is None), key=lambda one: -one.size):
        room_left.put_somewhere(chance, piece)
    return of, [*pieces, *small]


def slices(chance: random.Random, count: int, share: float) -> tuple[Cards, list[Piece]]:
    """Cards in MIG mode, each slice with an engine of its own; cards that hold one model and nothing else; and agents that are given bytes
    of a card, most of which run already. All but 15% of the models is loaded, a third of that elsewhere than planted."""
    nodes: dict[str, tuple[int, ...]] = {}
    sliced: set[str] = set()
    left = count
    while left:
        name = f"n{len(nodes):04d}"
        cuts = chance.choice(SLICED)
        if chance.random() < 0.5 and len(cuts) <= left:
            nodes[name] = tuple(size * GIB for size in cuts)
            sliced.add(name)
        else:
            nodes[name] = (chance.choice((16, 24, 40, 48, 80)) * GIB,) * min(left, chance.choice((1, 2, 2, 4)))
        left -= len(nodes[name])
    of = Cards(nodes, sliced=frozenset(sliced))
    sizes = catalogue(chance)
    pieces: list[Piece] = []
    agents: list[Agent] = []
    alone: dict[EngineId, int] = {}
    for (at, size), level in zip(of.engines().items(), levels(chance, len(of.engines()), share), strict=True):
        room, card = size, card_of(at)
        if at.node not in sliced and chance.random() < 0.25:
            alone[at] = 1
            pieces.append(Piece(int(size * chance.uniform(0.5, 1.0)) // MIB * MIB, at, priority=chance.choice((0, 0, 1))))
            continue
        if chance.random() < 0.3:
            asked = chance.choice((1, 2, 4)) * GIB
            agents.append(Agent(f"g{len(agents):04d}", asked, card, card if chance.random() < 0.8 else None))
            room -= asked
        for piece in cut(chance, int(room * level), sizes, chance.choice((2, 3, 4))):
            pieces.append(Piece(piece, at, priority=chance.choice((0, 0, 1))))
    of = replace(of, most=alone, agents=tuple(agents))
    loaded = [piece for piece in pieces if chance.random() >= 0.15]
    elsewhere = [piece for piece in loaded if piece.planted not in alone and chance.random() < 0.33]
    for piece in loaded:
        if piece not in elsewhere:
            piece.now = piece.planted
    room_left = Room(of, pieces, {one.now: one.size for one in agents if one.now is not None})
    room_left.engines = [at for at in room_left.engines if at not in alone]
    for piece in elsewhere:
        room_left.put_somewhere(chance, piece)
    return of, pieces


def company(chance: random.Random, count: int, share: float) -> tuple[Cards, list[Piece]]:
    """Two engines a card. A fifth of the models are never on one card with another, and a tenth only beside another, which is planted on
    their card. All but 15% is loaded, a third of what is free of that elsewhere than planted."""
    of = cards(chance, count, (chance.choice((EngineKind.OLLAMA, EngineKind.LLAMACPP)),))
    pieces = planted(chance, of, share, (0, 0, 1))
    by_card: dict[tuple[str, int], list[Piece]] = defaultdict(list)
    for piece in pieces:
        assert piece.planted is not None
        by_card[card_of(piece.planted)].append(piece)
    free = [*pieces]
    chance.shuffle(free)
    for number in range(len(pieces) // 10):
        one, other = free.pop(), free.pop()
        if card_of(one.planted) != card_of(other.planted):  # type: ignore[arg-type]  # all are planted
            one.tag, other.tag, one.never_with = f"foe{number}", f"foe{number}b", (f"foe{number}b",)
    together = [some for some in by_card.values() if sum(one.tag is None for one in some) >= 2]
    chance.shuffle(together)
    for number, some in enumerate(together[: max(1, len(pieces) // 10)]):
        one, other = [piece for piece in some if piece.tag is None][:2]
        one.tag, other.tag, one.with_models = f"mate{number}", f"mate{number}b", (f"mate{number}b",)
    for piece in pieces:
        if chance.random() >= 0.15:
            piece.now = piece.planted
    for some in together:  # who is only beside another is not there without it
        there = {piece.tag for piece in some if piece.now is not None}
        for piece in some:
            if not there.issuperset(piece.with_models):
                piece.now = None
    elsewhere = [piece for piece in pieces if piece.now is not None and piece.tag is None and chance.random() < 0.33]
    for piece in elsewhere:
        piece.now = None
    left = Room(of, pieces)
    for piece in elsewhere:
        left.put_somewhere(chance, piece)
    return of, pieces
