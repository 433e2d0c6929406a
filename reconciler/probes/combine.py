"""Probed cards laid over declared ones: what was probed wins, what only the inventory knows is kept, and where they differ it is said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

from reconciler.fleet import UNIFIED_SHARE, CardFacts, CardId, CardSpec, NodeSpec, format_bytes, format_capability
from reconciler.probes.declared import SOURCE, share_of_ram
from reconciler.probes.vendors import alike, declared_as, told_once

_TOLERANCE = Fraction(3, 100)
"""A card of 12 GiB has 12282 MiB: sizes are declared as they are sold."""
_NAMELESS = frozenset(("amd radeon graphics", "amd radeon(tm) graphics", "intel graphics", "intel(r) graphics"))
"""Names that drivers give to whatever chip has no name of its own: no contradiction to any."""


def combine(
    node: NodeSpec, probed: Sequence[CardFacts], ram: int | None, lost: Sequence[str] = (), partly: str | None = None
) -> tuple[tuple[CardFacts, ...], tuple[str, ...]]:
    """The node's cards, and a sentence for each contradiction between its inventory and what was found.

    `lost` has a sentence for each card that is there and could not be asked, `partly` says why others may not have been: declared cards
    that were not found are these, with the sentence as their fault.
    """
    probed, told = told_once(probed)
    notes = [*told]
    cards: list[CardFacts] = []
    known = ram if ram is not None else node.ram
    specs = node.gpus or ()
    taken: set[CardId] = set()
    for card in declared_as(probed, specs):
        spec = card.declared_in([one for one in specs if one.index not in taken])
        if spec is not None:
            taken.add(spec.index)
            notes.extend(_contradictions(card, spec))
        elif node.gpus is not None:
            notes.append(f"card {card.index}{_named(card.name)} was found and is not declared")
        cards.append(_filled(card, spec, known))
    missing = [spec for spec in specs if spec.index not in taken and not any(card.mig_parent for card in probed)]
    if lost or partly is not None:
        cards += _unread(missing, lost, partly, cards, probed)
    else:
        notes += [f"card {spec.index}{_named(spec.name)} is declared and was not found" for spec in missing]
    return tuple(cards), tuple(notes)


def _unread(
    missing: Sequence[CardSpec], lost: Sequence[str], partly: str | None, cards: Sequence[CardFacts], probed: Sequence[CardFacts]
) -> list[CardFacts]:
    """The cards that could not be asked, each with the reason as its fault: those that are declared and were not found, and as many more as
    are lost beyond these."""
    source, at = (probed[0].source, probed[0].at) if probed else (SOURCE, None)
    used = {card.index for card in cards} | {spec.index for spec in missing}
    free = (index for index in range(len(used) + len(lost)) if index not in used)
    specs = [*missing, *(CardSpec(next(free)) for _ in lost[len(missing) :])]
    faults = [*lost, *(partly or lost[-1] for _ in specs[len(lost) :])]
    return [
        CardFacts(spec.index, spec.uuid, spec.name, spec.vram, foreign_bytes=spec.foreign, source=source, at=at, fault=fault)
        for spec, fault in zip(specs, faults, strict=True)
    ]


def _filled(card: CardFacts, spec: CardSpec | None, ram: int | None) -> CardFacts:
    said = spec.unified if spec is not None else None
    if card.unified or said is not None:
        card = _with_shared_memory(replace(card, unified=True), spec.vram if spec is not None else None, ram, said or UNIFIED_SHARE)
    if spec is None:
        return card
    return replace(
        card,
        mig_parent=card.mig_parent or spec.mig,
        uuid=card.uuid or spec.uuid,
        name=spec.name if spec.name and _is_nameless(card.name) else card.name,
        total_bytes=card.total_bytes if card.total_bytes is not None else spec.vram,
        foreign_bytes=spec.foreign if card.used_bytes is None else None,
        compute_capability=card.compute_capability or spec.compute_capability,
        driver=card.driver or spec.driver,
    )


def _with_shared_memory(card: CardFacts, declared: int | None, ram: int | None, part: Fraction) -> CardFacts:
    """How much of the node's memory a chip may have is set by its owner (firmware, kernel, driver): so the declaration wins, then what its
    tool tells, then a share of RAM."""
    chip = f"card {card.index}{_named(card.name)} shares the node's memory"
    told = card.total_bytes
    tells = f"; {card.source} tells {card.total_from or format_bytes(told)}" if told is not None else ""
    if declared is not None:
        return replace(card, total_bytes=declared, total_from=f"{chip}: its {format_bytes(declared)} are those that are declared{tells}")
    if told is not None:
        own = f": its {format_bytes(told)} are what {card.source} tells ({card.total_from})" if card.total_from else ""
        return replace(card, total_from=f"{chip}{own}; declare `vram` where it may have another part" if own else None)
    if ram is None:
        return card
    share = share_of_ram(ram, part)
    what = f"{chip}: its {format_bytes(share)} are {float(part):.2f} of the node's RAM; declare `vram` where it may have another part"
    return replace(card, total_bytes=share, total_from=what)


def _contradictions(card: CardFacts, spec: CardSpec) -> list[str]:
    found = []
    total, declared = card.total_bytes, spec.vram
    if total is not None and declared is not None and not card.unified and abs(total - declared) > declared * _TOLERANCE:
        found.append(f"card {card.index} has {format_bytes(total)}, declared are {format_bytes(declared)}")
    if not _is_nameless(card.name) and spec.name is not None and not alike(card.name, spec.name):
        found.append(f"card {card.index} is a {card.name}, declared is a {spec.name}")
    seen, said = card.compute_capability, spec.compute_capability
    if seen is not None and said is not None and seen != said:
        found.append(f"card {card.index} has compute capability {format_capability(seen)}, declared is {format_capability(said)}")
    if card.driver is not None and spec.driver is not None and card.driver[: len(spec.driver)] != spec.driver:
        seen_driver, said_driver = (".".join(map(str, one)) for one in (card.driver, spec.driver))
        found.append(f"card {card.index} has driver {seen_driver}, declared is {said_driver}")
    return found


def _is_nameless(name: str | None) -> bool:
    return name is None or name.lower() in _NAMELESS


def _named(name: str | None) -> str:
    return f" ({name})" if name else ""
