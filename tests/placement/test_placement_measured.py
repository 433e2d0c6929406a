"""What was measured counts for just the loads that it was measured of, and stands beside what is predicted of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from placement.test_placement_knowledge import BLOB, HEADER, NAME, ONE, PLAIN, high, need, told
from planning.fleets import applied, desired, model, owned, plan

from reconciler.fleet import GIB, MIB, Applied, FleetFacts, Measured, MeasuredKey, Resident
from reconciler.vram import FIXED_START, RunSettings, geometry_of, header_of_fact, predict
from reconciler.vram.predict import FIXED_HIGH

CARD = "NVIDIA RTX Test"
KEY = MeasuredKey(f"sha256:{BLOB}", "0.34.0", CARD, 4096, 1, "f16", True)
WANT = desired(model(NAME, ["a"]))


def seen(**fields: Any) -> FleetFacts:
    found = told(ONE, **{"header": PLAIN, **fields})
    node = found.nodes["a"]
    cards = tuple(replace(card, name=CARD) for card in node.cards or ())
    return replace(found, nodes={"a": replace(node, cards=cards)})


def measured(key: MeasuredKey = KEY, reported: int | None = 700 * MIB, card: int | None = None) -> Applied:
    return Applied("l", 1, measured={key: Measured(reported, card)})


def expected(**more: Any) -> int:
    found = predict(geometry_of(header_of_fact(PLAIN)), RunSettings(4096, 1, build=10760, **more)).cards[0].total
    assert found is not None
    return found


def test_what_the_card_lost_is_the_need() -> None:
    assert need(plan(ONE, WANT, seen(), measured(card=900 * MIB))) == (900 * MIB, "measured")


def test_to_a_report_the_cost_of_a_process_is_added_as_to_what_is_computed() -> None:
    assert need(plan(ONE, WANT, seen(), measured())) == (700 * MIB + FIXED_HIGH, "measured")


@pytest.mark.parametrize(
    "other",
    [
        {"weights": "sha256:other"},
        {"build": "0.33.0"},
        {"gpu": "another card"},
        {"context": 8192},
        {"parallel": 2},
        {"kv_cache": "q8_0"},
        {"flash_attention": False},
        {"batch": 64},
    ],
    ids=lambda other: next(iter(other)),
)
def test_a_figure_of_anything_else_does_not_count(other: dict[str, Any]) -> None:
    assert need(plan(ONE, WANT, seen(), measured(replace(KEY, **other)))) == (high(PLAIN), "computed")


def test_the_plan_shows_what_was_measured_beside_what_is_predicted_of_the_same() -> None:
    (step,) = plan(ONE, WANT, seen(), measured(card=900 * MIB)).steps
    assert (step.measured_bytes, step.reported_bytes, step.predicted_bytes) == (900 * MIB, None, expected())
    (step,) = plan(ONE, WANT, seen(), measured()).steps
    assert (step.measured_bytes, step.reported_bytes, step.predicted_bytes) == (
        700 * MIB + FIXED_HIGH,
        700 * MIB,
        expected() + FIXED_HIGH - FIXED_START,
    )


def test_what_is_called_measured_is_all_that_the_plan_reserves() -> None:
    for known in (measured(), measured(card=900 * MIB)):
        (step,) = plan(ONE, WANT, seen(), known).steps
        assert step.measured_bytes == step.vram_bytes


def test_what_a_process_was_seen_to_take_corrects_what_is_computed_for_other_models_on_such_a_card() -> None:
    other = replace(KEY, weights="sha256:other", context=8192)
    known = measured(other, 700 * MIB, 1000 * MIB)
    assert need(plan(ONE, WANT, seen(), known)) == (high(PLAIN) - FIXED_HIGH + 364 * MIB, "computed")
    elsewhere = measured(replace(other, gpu="another card"), 700 * MIB, 1000 * MIB)
    assert need(plan(ONE, WANT, seen(), elsewhere)) == (high(PLAIN), "computed")


def test_an_unset_context_that_was_observed_is_the_one_that_was_measured() -> None:
    before = replace(applied(owned(NAME, "a", observed_context=4096)), measured=measured(card=900 * MIB).measured)
    assert need(plan(ONE, WANT, seen(), before)) == (900 * MIB, "measured")


def test_where_no_header_is_told_a_figure_counts_by_what_is_known_of_the_server() -> None:
    assert need(plan(ONE, WANT, seen(header=None), measured(card=900 * MIB))) == (900 * MIB, "measured")


def test_a_measured_need_in_place_of_a_computed_one_changes_no_plan_of_what_is_there() -> None:
    there = {"a": [Resident(NAME, size_bytes=700 * MIB, vram_bytes=700 * MIB, context=4096, pinned=True, blob=BLOB)]}
    for figure in (300 * MIB, 900 * MIB, 40 * GIB):
        before = replace(applied(owned(NAME, "a", 700 * MIB)), measured=measured(card=figure).measured)
        assert plan(ONE, WANT, seen(residents=there), before).steps == ()


def test_a_report_of_a_model_with_sliding_layers_is_not_the_need_and_a_card_is() -> None:
    """Ollama 0.34.0 reported 441 MiB of a Gemma 3 of which the card lost 465 MiB: it counts one of two caches."""
    assert need(plan(ONE, WANT, seen(header=HEADER), measured())) == (high(), "computed")
    assert need(plan(ONE, WANT, seen(header=HEADER), measured(reported=None, card=900 * MIB))) == (900 * MIB, "measured")
