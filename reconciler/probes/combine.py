"""Probed cards laid over declared ones: what was probed wins, what only the inventory knows is kept, and where they differ it is said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

from reconciler.fleet import CardFacts, CardSpec, NodeSpec, format_bytes, format_capability

UNIFIED_SHARE = Fraction(3, 4)
"""Of RAM that a card without memory of its own may take (Metal's recommendedMaxWorkingSetSize on larger machines; contract: 0.75)."""
_TOLERANCE = Fraction(3, 100)
"""A card of 12 GiB has 12282 MiB: sizes are declared as they are sold."""


def combine(node: NodeSpec, probed: Sequence[CardFacts], ram: int | None) -> tuple[tuple[CardFacts, ...], tuple[str, ...]]:
    """The node's cards, and a sentence for each contradiction between its inventory and what was found."""
    notes: list[str] = []
    cards: list[CardFacts] = []
    known = ram if ram is not None else node.ram
    taken: set[int] = set()
    for card in probed:
        spec = declaration_of(card, node.gpus or ())
        if spec is not None:
            taken.add(spec.index)
            notes.extend(_contradictions(card, spec))
        elif node.gpus is not None:
            notes.append(f"card {card.index}{_named(card.name)} was found and is not declared")
        cards.append(_filled(card, spec, known))
    for spec in node.gpus or ():
        if spec.index not in taken and not any(card.mig_parent for card in probed):
            notes.append(f"card {spec.index}{_named(spec.name)} is declared and was not found")
    return tuple(cards), tuple(notes)


def declaration_of(card: CardFacts, specs: Sequence[CardSpec]) -> CardSpec | None:
    """The declaration that is about a card: by UUID where both have one, else by index."""
    for spec in specs:
        if spec.uuid == card.uuid if spec.uuid is not None and card.uuid is not None else spec.index == card.index:
            return spec
    return None


def _filled(card: CardFacts, spec: CardSpec | None, ram: int | None) -> CardFacts:
    if card.unified:
        declared = spec.vram if spec is not None else None
        share = ram * UNIFIED_SHARE.numerator // UNIFIED_SHARE.denominator if ram is not None else None
        card = replace(card, total_bytes=declared or card.total_bytes or share)
    if spec is None:
        return card
    return replace(
        card,
        uuid=card.uuid or spec.uuid,
        name=card.name or spec.name,
        total_bytes=card.total_bytes if card.total_bytes is not None else spec.vram,
        foreign_bytes=spec.foreign if card.used_bytes is None else None,
        compute_capability=card.compute_capability or spec.compute_capability,
        driver=card.driver or spec.driver,
    )


def _contradictions(card: CardFacts, spec: CardSpec) -> list[str]:
    found = []
    total, declared = card.total_bytes, spec.vram
    if total is not None and declared is not None and not card.unified and abs(total - declared) > declared * _TOLERANCE:
        found.append(f"card {card.index} has {format_bytes(total)}, declared are {format_bytes(declared)}")
    if card.name is not None and spec.name is not None and not _alike(card.name, spec.name):
        found.append(f"card {card.index} is a {card.name}, declared is a {spec.name}")
    seen, said = card.compute_capability, spec.compute_capability
    if seen is not None and said is not None and seen != said:
        found.append(f"card {card.index} has compute capability {format_capability(seen)}, declared is {format_capability(said)}")
    if card.driver is not None and spec.driver is not None and card.driver[: len(spec.driver)] != spec.driver:
        seen_driver, said_driver = (".".join(map(str, one)) for one in (card.driver, spec.driver))
        found.append(f"card {card.index} has driver {seen_driver}, declared is {said_driver}")
    return found


def _alike(one: str, other: str) -> bool:
    """Whether two names may mean one card: `RTX 4090` and `NVIDIA GeForce RTX 4090`."""
    first, second = ("".join(name.lower().split()) for name in (one, other))
    return first in second or second in first


def _named(name: str | None) -> str:
    return f" ({name})" if name else ""
