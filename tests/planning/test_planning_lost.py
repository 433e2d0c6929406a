"""`policy.lost_after`: how long an engine is unreachable before its replicas are placed elsewhere, and what happens when it is back."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fleets import GIB, NOW, applied, desired, facts, fleet, loaded, model, node, owned, plan

from reconciler.fleet import Each, EngineId, Ensure, Policy

TWO = fleet(node("a", 24 * GIB), node("b", 24 * GIB))
AT = EngineId("a", "ollama")
DOWN = facts(TWO, installed=["m:1"], down=["a"])
AFTER = Policy(lost_after=600)
ON_BOTH = model("m:1", ["a", "b"], GIB)


def silent(since, *rows):
    return replace(applied(*(rows or (owned("m:1", "a", GIB),))), silent={AT: since})


def steps(result):
    return [step.id for step in result.steps]


@pytest.mark.parametrize(
    ("policy", "since", "expected"),
    [
        (Policy(), "2025-01-01T00:00:00Z", []),
        (AFTER, "2025-12-31T23:50:01Z", []),
        (AFTER, "2025-12-31T23:50:00Z", ["load:model.m:1@b/ollama"]),
    ],
)
def test_replicas_are_placed_elsewhere_after_that_long_and_by_default_never(policy, since, expected):
    result = plan(TWO, desired(ON_BOTH, policy=policy), DOWN, silent(since))
    assert steps(result) == expected
    assert [one.node for one in result.deferred] == ["a"], "nothing is known of it all the same"
    assert result.forgotten == ()


def test_an_engine_of_which_no_apply_has_seen_that_it_is_down_is_not_lost():
    assert steps(plan(TWO, desired(ON_BOTH, policy=AFTER), DOWN, applied(owned("m:1", "a", GIB)))) == []


def test_one_that_answers_again_is_not_lost_and_the_surplus_goes():
    both = facts(TWO, {"a": [loaded("m:1", GIB)], "b": [loaded("m:1", GIB)]}, ["m:1"])
    rows = owned("m:1", "a", GIB), owned("m:1", "b", GIB)
    assert steps(plan(TWO, desired(ON_BOTH, policy=AFTER), both, silent("2025-01-01T00:00:00Z", *rows))) == ["unload:model.m:1@b/ollama"]
    empty = facts(TWO, {"b": [loaded("m:1", GIB)]}, ["m:1"])
    result = plan(TWO, desired(ON_BOTH, policy=AFTER), empty, silent("2025-01-01T00:00:00Z", *rows))
    assert (steps(result), result.forgotten) == ([], ("model.m:1@a/ollama",))


def test_what_must_not_move_and_what_belongs_to_each_node_waits():
    long_ago = "2025-01-01T00:00:00Z"
    assert steps(plan(TWO, desired(replace(ON_BOTH, protect=True), policy=AFTER), DOWN, silent(long_ago))) == []
    each = model("m:1", ["a", "b"], GIB, each=Each.NODE)
    there = facts(TWO, {"b": [loaded("m:1", GIB)]}, ["m:1"], down=["a"])
    rows = owned("m:1", "a", GIB), owned("m:1", "b", GIB)
    assert steps(plan(TWO, desired(each, policy=AFTER), there, silent(long_ago, *rows))) == []


def test_what_only_has_to_be_installed_is_installed_elsewhere():
    want = desired(model("m:1", ["a", "b"], ensure=Ensure.PRESENT, keep_alive=None), policy=AFTER)
    row = owned("m:1", "a", ensure="present", keep_alive=None)
    assert steps(plan(TWO, want, facts(TWO, down=["a"]), silent("2025-01-01T00:00:00Z", row))) == ["pull:model.m:1@b/ollama"]


def test_the_plan_says_which_engine_is_lost():
    (note,) = plan(TWO, desired(ON_BOTH, policy=AFTER), DOWN, silent("2025-12-31T23:00:00Z")).notes
    assert (note.address, note.code) == ("engine.a/ollama", "lost")
    assert "1h" in note.message
    assert NOW == "2026-01-01T00:00:00Z"
