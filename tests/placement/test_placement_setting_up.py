"""What a card can reckon in is taken from the catalogue where nobody tells it; its size never is."""

from __future__ import annotations

from dataclasses import replace

import pytest
from planning.fleets import facts as plain_facts
from planning.fleets import fleet, node

from reconciler.fleet import GIB, NO_LIMITS, Fleet, FleetFacts
from reconciler.placement import Occupancy, set_up
from reconciler.vram import Catalogue, KnownGpu

LISTED = KnownGpu("NVIDIA L4", ("10de:27b8",), 24 * GIB, (8, 9), True, True)
CATALOGUE = Catalogue(gpus={"nvidia l4": LISTED})
ONE = fleet(node("a", 8 * GIB, capability=None))


def named(name: str | None, capability: tuple[int, int] | None = None, total: int | None = 8 * GIB, of: Fleet = ONE) -> FleetFacts:
    found = plain_facts(of)
    seen = found.nodes["a"]
    cards = tuple(replace(card, name=name, compute_capability=capability, total_bytes=total) for card in seen.cards or ())
    return replace(found, nodes={"a": replace(seen, cards=cards)})


def board(facts: FleetFacts) -> Occupancy:
    return set_up(ONE, facts, NO_LIMITS, catalogue=CATALOGUE)


@pytest.mark.parametrize(
    ("name", "told", "known"),
    [
        ("NVIDIA L4", None, (8, 9)),
        ("nvidia l4", None, (8, 9)),
        ("NVIDIA L4", (7, 5), (7, 5)),
        ("NVIDIA L40S", None, None),
        (None, None, None),
    ],
)
def test_a_compute_capability_that_nobody_tells_is_that_of_the_catalogue(
    name: str | None, told: tuple[int, int] | None, known: tuple[int, int] | None
) -> None:
    (card,) = board(named(name, told)).cards
    assert card.facts is not None
    assert card.facts.compute_capability == known
    assert card.facts.bfloat16 is (True if known == (8, 9) else None)


def test_the_size_of_a_card_is_never_taken_from_the_catalogue() -> None:
    (card,) = board(named("NVIDIA L4", total=None)).cards
    assert (card.total, card.usable) == (None, None)
