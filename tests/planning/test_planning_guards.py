"""Guards refuse a plan as a whole, and name what would allow it."""

from __future__ import annotations

from fractions import Fraction

import pytest
from fleets import GIB, applied, desired, facts, fleet, loaded, model, node, owned, plan

from reconciler.fleet import Guards, Policy, Unmanaged
from reconciler.planning.guards import most_unloads

CARD = fleet(node("a", 24 * GIB), node("b", 24 * GIB))
NAMES = ["m:1", "n:1", "o:1"]
THREE = applied(*(owned(name, "a") for name in NAMES))
HERE = facts(CARD, {"a": [loaded(name, GIB) for name in NAMES]}, NAMES)


def refused(want, seen=HERE, before=THREE):
    return [(one.guard, one.address) for one in plan(CARD, want, seen, before).refusals]


def guarded(*models, **guards):
    return desired(*models, policy=Policy(guards=Guards(**guards)))


def test_an_empty_desired_state_does_not_empty_the_fleet():
    assert refused(guarded()) == [("allow_empty", "model.m:1@a/ollama")]
    assert refused(guarded(allow_empty=True)) == []
    assert refused(guarded(model("m:1", ["a"], GIB))) == []


def test_an_empty_desired_state_is_no_matter_where_nothing_is_owned():
    assert refused(guarded(), before=applied()) == []


@pytest.mark.parametrize(("most", "refusals"), [(0, 1), (1, 1), (2, 0), (Fraction(1, 3), 1), (Fraction(2, 3), 0), (None, 0)])
def test_no_more_residents_are_unloaded_than_the_guard_lets_go(most, refusals):
    assert len(refused(guarded(model("m:1", ["a"], GIB), max_unload=most))) == refusals


def test_a_percentage_is_rounded_up_and_never_less_than_one():
    assert [most_unloads(Fraction(10, 100), owned) for owned in (0, 1, 10, 11)] == [1, 1, 1, 2]


def test_a_reload_and_a_move_count_once_each():
    names = ["m:1", "n:1"]
    seen = facts(CARD, {"a": [loaded("m:1", GIB, context=2048), loaded("n:1", GIB)]}, names)
    models = model("m:1", ["a"], GIB, context=8192, context_via="request"), model("n:1", ["b"], GIB)
    before = applied(owned("m:1", "a"), owned("n:1", "a"))
    assert refused(guarded(*models, max_unload=2), seen, before) == []
    assert refused(guarded(*models, max_unload=1), seen, before) == [("max_unload", "model.m:1@a/ollama")]


def test_evictions_of_what_nobody_here_asked_for_have_a_bound_of_their_own():
    def want(**guards):
        return desired(model("m:1", ["a"], 20 * GIB), policy=Policy(Unmanaged.YIELD, Guards(**guards)))

    seen = facts(CARD, {"a": [loaded("x:1", 9 * GIB, pinned=False), loaded("y:1", 9 * GIB, pinned=False)]}, ["m:1"])
    assert refused(want(max_unload=0), seen, applied()) == []
    assert refused(want(max_evictions=1), seen, applied()) == [("max_evictions", "model.x:1@a/ollama")]


def test_a_refusal_ends_with_the_line_that_would_allow_it():
    (refusal,) = plan(CARD, guarded(model("m:1", ["a"], GIB), max_unload=1), HERE, THREE).refusals
    assert refusal.message == (
        "2 residents would be unloaded or reloaded, 1 of 3 may be, model.n:1@a/ollama among them; "
        "`policy: {guards: {max_unload: 2}}` would allow it"
    )
