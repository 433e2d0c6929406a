"""Probed over declared: what was probed wins, what only the inventory knows is kept, and contradictions are said."""

from __future__ import annotations

from reconciler.fleet import GIB, MIB, CardFacts, CardSpec, NodeSpec
from reconciler.probes.combine import combine


def of(declared, *probed, ram=None):
    return combine(NodeSpec("a", "a", gpus=declared), probed, ram)


def test_a_probed_fact_wins_and_the_contradiction_is_said():
    spec = CardSpec(0, name="RTX 4090", vram=24 * GIB, compute_capability=(8, 9), driver=(550,))
    seen = CardFacts(0, "GPU-1", "NVIDIA RTX A4000", 16 * GIB, 0, compute_capability=(8, 6), driver=(535, 1), source="nvml")
    (card,), notes = of((spec,), seen)
    assert (card.name, card.total_bytes, card.compute_capability) == ("NVIDIA RTX A4000", 16 * GIB, (8, 6))
    assert notes == (
        "card 0 has 16.0 GiB, declared are 24.0 GiB",
        "card 0 is a NVIDIA RTX A4000, declared is a RTX 4090",
        "card 0 has compute capability 8.6, declared is 8.9",
        "card 0 has driver 535.1, declared is 550",
    )


def test_sizes_and_names_as_they_are_sold_are_no_contradiction():
    spec = CardSpec(0, name="RTX 4070 Ti", vram=12 * GIB, driver=(550,))
    assert of((spec,), CardFacts(0, name="NVIDIA GeForce RTX 4070 Ti", total_bytes=12282 * MIB, driver=(550, 54)))[1] == ()


def test_what_a_probe_does_not_tell_is_taken_from_the_inventory():
    spec = CardSpec(0, vram=8 * GIB, compute_capability=(8, 6), foreign=5)
    (card,), notes = of((spec,), CardFacts(0, "GPU-1", source="dcgm"))
    assert (card.total_bytes, card.compute_capability, card.foreign_bytes, notes) == (8 * GIB, (8, 6), 5, ())


def test_cards_that_are_found_or_declared_alone_are_named():
    _, notes = of((CardSpec(0), CardSpec(1, name="lost")), CardFacts(0), CardFacts(2, name="new"))
    assert notes == ("card 2 (new) was found and is not declared", "card 1 (lost) is declared and was not found")
    assert of((), CardFacts(0, name="new"))[1] == ("card 0 (new) was found and is not declared",)
    assert of(None, CardFacts(0))[1] == ()


def test_a_uuid_finds_its_declaration_whatever_the_index():
    (card,), notes = of((CardSpec(1, uuid="GPU-x", vram=8 * GIB),), CardFacts(0, "GPU-x"))
    assert (card.total_bytes, notes) == (8 * GIB, ())


def test_unified_memory_is_three_quarters_of_ram_unless_said_otherwise():
    shared = CardFacts(0, name="Apple M3 Max", unified=True)
    assert of(None, shared, ram=64 * GIB)[0][0].total_bytes == 48 * GIB
    assert of((CardSpec(0, vram=56 * GIB),), shared, ram=64 * GIB)[0][0].total_bytes == 56 * GIB
    assert of(None, shared)[0][0].total_bytes is None
