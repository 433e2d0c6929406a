"""Guards refuse a plan as a whole, and name what would allow it."""

from __future__ import annotations

from fractions import Fraction

import pytest
from fleets import GIB, applied, desired, facts, fleet, loaded, model, node, owned, plan

from reconciler.fleet import ContextVia, Guards, Policy, Residency, Unmanaged
from reconciler.planning import first_stale_step
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


PROTECTED = applied(owned("m:1", "a", protect=True), owned("n:1", "a"), owned("o:1", "a"))
OTHERS = (model("n:1", ["a"], GIB), model("o:1", ["a"], GIB))


def test_what_was_protected_stays_after_it_left_the_files_and_the_plan_is_refused():
    result = plan(CARD, desired(*OTHERS), HERE, PROTECTED)
    assert (result.steps, result.forgotten) == ((), ())
    (refusal,) = result.refusals
    assert (refusal.guard, refusal.address) == ("protect", "model.m:1@a/ollama")
    assert refusal.message == (
        "model.m:1@a/ollama is protected and would be unloaded (is no longer wanted); "
        "`m:1: {protect: false, replicas: 0}` under `models` would allow it"
    )


def test_the_line_that_a_refusal_names_allows_it():
    allowed = desired(*OTHERS, model("m:1", ["a"], GIB, replicas=0))
    result = plan(CARD, allowed, HERE, PROTECTED)
    assert (result.refusals, [step.id for step in result.steps]) == ((), ["unload:model.m:1@a/ollama"])


@pytest.mark.parametrize(
    "changed",
    [
        {"context": 8192, "context_via": ContextVia.REQUEST},
        {"options": {"num_batch": 128}},
        {"replicas": 0},
        {"residency": Residency.CPU, "min_gpu_fraction": 0.0},
    ],
)
def test_a_change_that_takes_a_protected_replica_away_is_refused_and_no_step(changed):
    want = desired(*OTHERS, model("m:1", ["a"], GIB, protect=True, **changed))
    result = plan(CARD, want, HERE, PROTECTED)
    assert [one.guard for one in result.refusals] == ["protect"]
    assert "`m:1: {protect: false}` under `models` would allow it" in result.refusals[0].message
    assert result.steps == ()


def test_a_move_of_a_protected_replica_is_refused():
    result = plan(CARD, desired(*OTHERS, model("m:1", ["b"], GIB, protect=True)), HERE, PROTECTED)
    assert [one.guard for one in result.refusals] == ["protect"]
    assert [step.id for step in result.steps if step.action == "unload"] == []


def test_room_is_made_by_an_unprotected_replica_where_there_is_one():
    seen = facts(CARD, {"a": [loaded("m:1", 10 * GIB), loaded("n:1", 10 * GIB)]}, ["m:1", "n:1", "top:1"])
    before = applied(owned("m:1", "a"), owned("n:1", "a"))
    low = model("m:1", ["a"], 10 * GIB, protect=True), model("n:1", ["a"], 10 * GIB, priority=1)
    result = plan(CARD, desired(*low, model("top:1", ["a"], 10 * GIB, priority=9)), seen, before)
    assert [step.id for step in result.steps] == ["unload:model.n:1@a/ollama", "load:model.top:1@a/ollama"]
    assert result.refusals == ()


def test_where_only_protected_replicas_could_make_room_the_other_is_unplaced_and_told_the_line():
    seen = facts(CARD, {"a": [loaded("m:1", 20 * GIB)]}, ["m:1", "top:1"])
    want = desired(model("m:1", ["a"], 20 * GIB, protect=True), model("top:1", ["a"], 12 * GIB, priority=9))
    result = plan(CARD, want, seen, applied(owned("m:1", "a")))
    (unplaced,) = result.unplaced
    assert (unplaced.model, result.steps, result.refusals) == ("top:1", (), ())
    assert "1 protected replicas of lower priority may go, m:1 first: `protect: false` there" in unplaced.would_fit_if


@pytest.mark.parametrize("resident", ["m:1", "n:1"])
def test_a_row_protects_its_weights_also_under_another_name_that_was_adopted_on_them(resident):
    blobs = {"m:1": "sha256:x", "n:1": "sha256:x", "top:1": "sha256:t"}
    seen = facts(CARD, {"a": [loaded(resident, 20 * GIB, blob="sha256:x")]}, list(blobs), blobs=blobs)
    before = applied(owned("m:1", "a", protect=True), owned("n:1", "a"))
    top = model("top:1", ["a"], 12 * GIB, priority=9)
    wanted = plan(CARD, desired(model("n:1", ["a"], 20 * GIB), top), seen, before)
    assert ([step.id for step in wanted.steps], wanted.forgotten, wanted.refusals) == ([], (), ())
    left = plan(CARD, desired(top), seen, before)
    assert [step.id for step in left.steps] == []
    assert "model.m:1@a/ollama" not in left.forgotten
    assert [(one.guard, one.address) for one in left.refusals] == [("protect", "model.m:1@a/ollama")]


def test_a_protected_replica_is_pinned_again_and_loaded_anew_where_it_is_gone():
    unpinned = facts(CARD, {"a": [loaded("m:1", GIB, pinned=False)]}, ["m:1"])
    want, before = desired(model("m:1", ["a"], GIB, protect=True)), applied(owned("m:1", "a", protect=True))
    assert [step.action for step in plan(CARD, want, unpinned, before).steps] == ["update"]
    assert [step.action for step in plan(CARD, want, facts(CARD, installed=["m:1"]), before).steps] == ["load"]


def test_a_saved_step_against_a_protected_replica_does_not_stand():
    want = desired(*OTHERS)
    unprotected = applied(owned("m:1", "a"), owned("n:1", "a"), owned("o:1", "a"))
    saved = plan(CARD, want, HERE, unprotected)
    assert [step.action for step in saved.steps] == ["unload"]
    moved = first_stale_step(saved, CARD, want, HERE, PROTECTED)
    assert moved is not None
    assert moved.why == "it is protected"
