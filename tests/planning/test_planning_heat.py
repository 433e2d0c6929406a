"""A hot or full card is the last choice for what is new, and no reason to move what is there."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest
from fleets import GIB, applied, desired, facts, fleet, loaded, model, node, owned, plan

from reconciler.fleet import Each, Heat, MemoryPressure, Policy, Strategy, Thermal

TWO = fleet(node("a", 24 * GIB), node("b", 24 * GIB))
HOT = Policy(thermal=Thermal(warning=70, throttling=80, critical=90, hysteresis=5))


def seen(residents=None, **changes):
    """Facts in which the card of node a has these fields."""
    found = facts(TWO, residents, ["m:1", "n:1"])
    first = found.nodes["a"]
    card = replace(first.cards[0], **changes)
    return replace(found, nodes={**found.nodes, "a": replace(first, cards=(card,))})


def placed(result):
    return sorted(step.address for step in result.steps)


@pytest.mark.parametrize("strategy", list(Strategy))
@pytest.mark.parametrize(("temperature", "where"), [(69.0, "a"), (70.0, "b"), (95.0, "b"), (None, "a")])
def test_what_is_new_goes_to_a_hot_card_last(strategy, temperature, where):
    want = desired(model("m:1", ["a", "b"], GIB), policy=HOT, strategy=strategy)
    assert placed(plan(TWO, want, seen(temperature=temperature))) == [f"model.m:1@{where}/ollama"]


def test_it_goes_there_where_no_other_place_is_left():
    want = desired(model("m:1", ["a", "b"], GIB, replicas=2), policy=HOT)
    assert placed(plan(TWO, want, seen(temperature=99.0))) == ["model.m:1@a/ollama", "model.m:1@b/ollama"]


def test_the_level_is_left_the_hysteresis_below_as_the_state_remembers():
    want = desired(model("m:1", ["a", "b"], GIB), policy=HOT)
    warm = replace(applied(), heat={("a", 0): Heat.WARNING})
    assert placed(plan(TWO, want, seen(temperature=66.0))) == ["model.m:1@a/ollama"]
    assert placed(plan(TWO, want, seen(temperature=66.0), warm)) == ["model.m:1@b/ollama"]


def test_what_is_there_stays_and_what_was_there_comes_back():
    want = desired(model("m:1", ["a", "b"], GIB), policy=HOT)
    before = applied(owned("m:1", "a"))
    assert plan(TWO, want, seen({"a": [loaded("m:1", GIB)]}, temperature=99.0), before).empty
    assert placed(plan(TWO, want, seen(temperature=99.0), before)) == ["model.m:1@a/ollama"]


def test_a_full_card_is_the_last_choice_too_and_without_a_policy_nothing_is():
    full = seen(used_bytes=20 * GIB, temperature=99.0)
    want = desired(model("m:1", ["a", "b"], GIB), policy=Policy(memory_pressure=MemoryPressure(high=Fraction(3, 4))))
    assert placed(plan(TWO, want, full)) == ["model.m:1@b/ollama"]
    assert placed(plan(TWO, replace(want, policy=Policy()), full)) == ["model.m:1@a/ollama"]


def test_each_node_has_its_replica_whatever_its_heat():
    want = desired(model("m:1", ["a", "b"], GIB, each=Each.NODE), policy=HOT)
    assert len(placed(plan(TWO, want, seen(temperature=99.0)))) == 2
