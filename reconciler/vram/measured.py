"""What a load showed, and whether it may be learned from: the engine's report and the card before and after must tell the same story."""

from __future__ import annotations

from reconciler.fleet import Measured
from reconciler.fleet.units import GIB, MIB
from reconciler.value_class import value_class
from reconciler.vram.predict import FIXED_HIGH, FIXED_LOW, FIXED_START

LEAST_BESIDE, MOST_BESIDE = -64 * MIB, GIB
"""How much more than the engine reports its card may have lost in a load: context, kernels and libraries of a process, at most 1 GiB or an
eighth of the model (a real Ollama reports 10% less than the card lost); a card rounds, so a little less passes too."""


@value_class
class SeenLoad:
    """One load: what the engine says that the model takes on cards, what the cards lost from before to after, and the file's size.

    `own` says that the cards' figure is of the engine's own processes, so that nobody else can be in it. None: not seen.
    """

    reported: int | None
    card: int | None
    file: int | None
    own: bool = False


def learned(seen: SeenLoad) -> Measured | None:
    """What is learned of a load; None where nothing was seen, or what was seen contradicts itself: somebody else's memory moved meanwhile,
    or the engine named the file's size (Ollama does where it cannot read its runner's log: llm/llama_server.go)."""
    reported = seen.reported or None
    if reported is not None and reported == seen.file:
        return None
    if reported is None:
        return Measured(None, seen.card) if seen.own and seen.card is not None and seen.card > 0 else None
    if seen.card is None:
        return Measured(reported, None)
    beside = seen.card - reported
    return Measured(reported, seen.card) if LEAST_BESIDE <= beside <= max(MOST_BESIDE, reported // 8) else None


def fixed_of(known: tuple[int, ...]) -> tuple[int, int, int]:
    """Low, expected and high end of what a process takes on a card beside what its engine reports.

    `known` is what loads showed on cards of one model with one build of the engine; where none did, it is the start value.
    """
    if not known:
        return FIXED_LOW, FIXED_START, FIXED_HIGH
    return max(0, min(known) - SPREAD), max(0, sorted(known)[len(known) // 2]), max(0, max(known)) + SPREAD


SPREAD = 64 * MIB
"""By how much the fixed cost differs from one model to another on the same card: kernels are loaded as they are used."""
