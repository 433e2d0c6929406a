"""What is hard to place comes first, and the strategy never decides whether something has a place."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "planning"))
from planning.fleets import GIB, applied, desired, facts, fleet, loaded, model, node, owned, plan

from reconciler.fleet import Strategy

SPREADING = [Strategy.LEAST_LOADED, Strategy.ROUND_ROBIN]


def at(of):
    return {step.model: step.node for step in of.steps if step.action == "load"}


@pytest.mark.parametrize("strategy", Strategy)
@pytest.mark.parametrize("large", ["a-large:1", "z-large:1"])
def test_of_one_priority_the_largest_is_placed_first_whatever_the_names(strategy, large):
    of = fleet(node("a", 24 * GIB), node("b", 9 * GIB))
    want = desired(
        *(model(f"m{number}:1", ["a", "b"], 2 * GIB) for number in range(3)), model(large, ["a", "b"], 21 * GIB), strategy=strategy
    )
    assert at(plan(of, want, facts(of))) == {large: "a", "m0:1": "b", "m1:1": "b", "m2:1": "b"}


def test_the_largest_comes_first_where_only_the_files_say_how_large_it_is():
    of = fleet(node("a", 24 * GIB), node("b", 9 * GIB))
    want = desired(*(model(f"m{number}:1", ["a", "b"]) for number in range(3)), model("z:1", ["a", "b"]))
    seen = facts(of, installed=["m0:1", "m1:1", "m2:1", "z:1"], sizes={"z:1": 17 * GIB, **{f"m{number}:1": GIB for number in range(3)}})
    assert at(plan(of, want, seen))["z:1"] == "a"


def test_priority_counts_before_size():
    of = fleet(node("a", 10 * GIB))
    want = desired(model("large:1", ["a"], 9 * GIB), model("small:1", ["a"], GIB, priority=1))
    assert at(plan(of, want, facts(of))) == {"small:1": "a"}


@pytest.mark.parametrize("strategy", SPREADING)
def test_what_only_fits_when_packed_is_packed(strategy):
    of = fleet(node("a", 27 * GIB), node("b", 27 * GIB))  # 24.3 GiB of each are usable
    sizes = {"m0:1": 10, "m1:1": 10, "m2:1": 8, "m3:1": 8, "m4:1": 8}
    want = desired(*(model(name, ["a", "b"], size * GIB) for name, size in sizes.items()), strategy=strategy)
    result = plan(of, want, facts(of))
    assert result.unplaced == ()
    assert len({at(result)["m0:1"], at(result)["m1:1"]}) == 1


def test_what_is_more_important_is_not_spread_into_the_room_that_something_large_needs():
    of = fleet(node("a", 27 * GIB), node("b", 27 * GIB))
    want = desired(model("there:1", ["b"], 10 * GIB), model("s:1", ["a", "b"], 8 * GIB, priority=1), model("l:1", ["a", "b"], 20 * GIB))
    seen = facts(of, {"b": [loaded("there:1", 10 * GIB)]}, ["there:1", "s:1", "l:1"])
    result = plan(of, want, seen, applied(owned("there:1", "b")))
    assert (at(result), result.unplaced) == ({"s:1": "b", "l:1": "a"}, ())


def test_where_there_is_room_the_strategy_chooses():
    of = fleet(node("a", 27 * GIB), node("b", 27 * GIB))
    two = [model(name, ["a", "b"], 8 * GIB) for name in ("x:1", "y:1")]
    assert sorted(at(plan(of, desired(*two), facts(of))).values()) == ["a", "b"]
    assert at(plan(of, desired(*two, strategy=Strategy.BINPACK), facts(of))) == {"x:1": "a", "y:1": "a"}


def test_a_place_that_best_fit_finds_only_for_something_less_important_is_not_paid_by_something_more_important():
    of = fleet(node("a", 10 * GIB))
    want = desired(model("top:1", ["a"], 6 * GIB, priority=1), model("low:1", ["a"], 8 * GIB))
    assert at(plan(of, want, facts(of))) == {"top:1": "a"}


def test_packing_goes_on_with_an_engine_of_several_cards_after_a_first_replica_was_placed():
    of = fleet(node("a", 4 * GIB, 8 * GIB, 4 * GIB), node("b", 12 * GIB, 4 * GIB))
    want = desired(
        model("large:1", ["a", "b"], 17 * GIB // 2, replicas=2, priority=1), model("small:1", ["a"], 5 * GIB), strategy=Strategy.BINPACK
    )
    result = plan(of, want, facts(of))
    loads = sorted(step.address for step in result.steps if step.action == "load" and step.model == "large:1")
    assert loads == ["model.large:1@a/ollama", "model.large:1@b/ollama"]
