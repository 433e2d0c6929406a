"""A saved plan stands as long as the facts do that its steps depend on; the rest may move."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fleets import GIB, actions, applied, desired, facts, fleet, loaded, model, node, owned, plan

from reconciler.fleet import Applied, EngineKind, Ensure, Policy, ReplicaChange, Unmanaged
from reconciler.planning import Action, SinceApproval, as_approved, first_stale_step

TWO = fleet(node("a", 8 * GIB), node("b", 8 * GIB))
WANT = desired(model("m:1", ["a"], 5 * GIB))
INSTALLED = ["m:1", "n:1"]
EMPTY = facts(TWO, installed=INSTALLED)


def why(saved, now, want=WANT, before=None, **more):
    moved = first_stale_step(saved, TWO, want, now, before or Applied(), **more)
    return None if moved is None else (moved.step.action.value, moved.why)


def test_memory_of_a_card_that_no_step_depends_on_may_move():
    now = facts(TWO, {"b": [loaded("stranger:1", 7 * GIB)]}, INSTALLED)
    assert why(plan(TWO, WANT, EMPTY), now) is None


def test_a_card_that_filled_up_since_is_named_with_what_is_left():
    now = facts(TWO, {"a": [loaded("stranger:1", 4 * GIB)]}, INSTALLED)
    assert why(plan(TWO, WANT, EMPTY), now) == ("load", "it needs 5120 MiB on a/0, where 3276 MiB are free now")


def test_room_that_an_earlier_step_makes_counts_for_a_later_one():
    before = applied(owned("old:1", "a"))
    full = facts(TWO, {"a": [loaded("old:1", 6 * GIB)]}, INSTALLED)
    saved = plan(TWO, WANT, full, before)
    assert [step.action for step in saved.steps] == [Action.UNLOAD, Action.LOAD]
    assert why(saved, full, before=before) is None


def test_what_is_satisfied_already_counts_as_done():
    saved = plan(TWO, WANT, facts(TWO))
    assert [step.action for step in saved.steps] == [Action.PULL, Action.LOAD]
    assert why(saved, facts(TWO, {"a": [loaded("m:1", 5 * GIB)]}, INSTALLED)) is None


def test_a_model_that_is_resident_by_now_with_other_options_is_not_loaded_over():
    want = desired(model("m:1", ["a"], 5 * GIB, context=8192, context_via="request"))
    now = facts(TWO, {"a": [loaded("m:1", 5 * GIB, context=2048)]}, INSTALLED)
    assert why(plan(TWO, want, EMPTY), now, want) == ("load", "it is resident by now and not as wanted: context 2048, wanted 8192")


@pytest.mark.parametrize(
    ("now", "says"),
    [
        (facts(TWO, installed=INSTALLED, down=["a"]), "connection refused"),
        (facts(TWO, installed=["n:1"]), "m:1 is not installed any more"),
    ],
)
def test_an_engine_that_is_down_and_a_model_that_was_deleted_are_named(now, says):
    assert why(plan(TWO, WANT, EMPTY), now) == ("load", says)


def test_a_need_that_was_measured_higher_since_is_not_loaded_into_the_room_of_the_old_one():
    saved = plan(TWO, WANT, EMPTY)
    more = desired(model("m:1", ["a"], 6 * GIB))
    assert why(saved, EMPTY, more) == ("load", "it needs 6144 MiB now")


def test_a_replica_is_not_unloaded_once_the_one_that_was_to_stay_is_gone():
    before = applied(owned("m:1", "a"), owned("m:1", "b"))
    both = {"a": [loaded("m:1", 5 * GIB)], "b": [loaded("m:1", 5 * GIB)]}
    want = desired(model("m:1", ["a", "b"], 5 * GIB))
    saved = plan(TWO, want, facts(TWO, both, INSTALLED), before)
    assert [step.address for step in saved.steps] == ["model.m:1@b/ollama"]
    now = facts(TWO, {"b": both["b"]}, INSTALLED)
    assert why(saved, now, want, before) == ("unload", "model.m:1@a/ollama, which was to stay, is not resident now")


def test_a_resident_that_left_by_itself_is_as_good_as_unloaded():
    before = applied(owned("old:1", "a"))
    saved = plan(TWO, desired(), facts(TWO, {"a": [loaded("old:1", 6 * GIB)]}), before)
    assert why(saved, EMPTY, desired(), before) is None


def forged(**changes):
    saved = plan(TWO, WANT, EMPTY)
    return replace(saved, steps=(replace(saved.steps[0], **changes),))


@pytest.mark.parametrize(
    ("saved", "says"),
    [
        (forged(node="c"), "its engine is not in the inventory"),
        (forged(node="b"), "the desired state does not ask for it there"),
        (forged(model="n:1", engine_name="n:1", base_name="n:1"), "the desired state does not ask for it there"),
        (forged(engine_name="n:1"), "the desired state calls it m:1 there"),
        (forged(after={"context": 131072}), "the desired state asks for other options"),
        (forged(after={"keep_alive": 5.0, "residency": "gpu", "min_gpu_fraction": 1.0}), "the desired state asks for other options"),
        (forged(gpus=(1,)), "the step names cards that its engine does not use"),
        (forged(vram_bytes=1), "it needs 5120 MiB now"),
        (forged(preconditions=()), "its preconditions are not those of its bytes"),
        (forged(action=Action.REMOVE), "the desired state does not ask for it to be absent there"),
    ],
)
def test_a_step_that_these_files_could_not_have_asked_for_is_refused(saved, says):
    moved = first_stale_step(saved, TWO, WANT, EMPTY, Applied())
    assert moved is not None
    assert moved.why == says


def test_nobody_elses_resident_is_unloaded_for_a_plan_made_by_hand():
    there = facts(TWO, {"a": [loaded("stranger:1", 2 * GIB)]}, INSTALLED)
    unload = desired(policy=Policy(Unmanaged.UNLOAD))
    saved = plan(TWO, unload, there)
    assert why(saved, there, unload) is None
    assert why(saved, there, desired()) == ("unload", "it is resident and was not loaded by gpurec")


def test_a_wanted_replica_is_not_unloaded_by_a_plan_that_gives_no_other_for_it():
    before = applied(owned("m:1", "a"))
    there = facts(TWO, {"a": [loaded("m:1", 5 * GIB)]}, INSTALLED)
    saved = plan(TWO, desired(), there, before)
    assert why(saved, there, WANT, before) == (
        "unload",
        "the desired state asks for it there, and no other step of the plan takes its place or its room",
    )


def test_a_replica_that_could_not_be_seen_when_the_plan_was_made_is_no_reason_against_it():
    two = applied(owned("m:1", "a"), owned("old:1", "a"))
    down = facts(TWO, {"a": [loaded("m:1", GIB), loaded("old:1", GIB)]}, INSTALLED, down=["b"])
    want = desired(model("m:1", ["a", "b"], GIB, each="node"))
    saved = plan(TWO, want, down, two)
    assert [step.action for step in saved.steps] == [Action.UNLOAD]
    assert why(saved, down, want, two) is None


def test_a_node_outside_the_plans_own_limit_is_refused():
    assert why(plan(TWO, WANT, EMPTY), EMPTY, selected=frozenset("b")) == (
        "load",
        "its node is outside the plan's own --limit and --exclude",
    )


def test_what_is_carried_out_keeps_the_approved_steps_over_the_cards_of_now():
    saved = plan(TWO, WANT, EMPTY)
    now = facts(TWO, {"a": [loaded("stranger:1", GIB)]}, INSTALLED)
    fresh = plan(TWO, WANT, now)
    done = as_approved(replace(saved, placed={**saved.placed, "model.evil:1@a/ollama": "evil:1"}), fresh, TWO, WANT)
    assert (done.steps, done.digest, done.gpus) == (saved.steps, saved.digest, fresh.gpus)
    assert done.placed == {"model.m:1@a/ollama": "m:1"}


def test_a_saved_plan_may_unload_what_is_to_be_there_on_demand_only():
    want = desired(model("m:1", ["a"], 4 * GIB, ensure=Ensure.PRESENT, keep_alive=None))
    seen = facts(TWO, {"a": [loaded("m:1", 4 * GIB)]}, ["m:1"])
    before = applied(owned("m:1", "a"))
    saved = plan(TWO, want, seen, before)
    assert "on_demand" in [step.reason.code for step in saved.steps]
    assert first_stale_step(saved, TWO, want, seen, before) is None


def test_a_replica_outside_the_limit_of_the_plan_is_no_reason_against_it():
    want = desired(model("m:1", ["a", "b"], 5 * GIB, replicas=2), model("big:1", ["a"], 6 * GIB, priority=1))
    seen = facts(TWO, {"a": [loaded("m:1", 5 * GIB)]}, ["m:1", "big:1"])
    before = applied(owned("m:1", "a"), owned("m:1", "b"))
    only = frozenset("a")
    saved = plan(TWO, want, seen, before, only)
    assert "unload model.m:1@a/ollama" in actions(saved)
    assert first_stale_step(saved, TWO, want, seen, before, only) is None


def test_what_left_the_state_for_a_load_of_this_very_plan_under_its_address_is_still_unloaded():
    want = desired(model("m", ["a"], 2 * GIB, names={EngineKind.OLLAMA: "new:1"}))
    seen = facts(TWO, {"a": [loaded("old:1", 2 * GIB)]}, ["old:1", "new:1"])
    saved = plan(TWO, want, seen, applied(owned("m", "a", engine_name="old:1")))
    assert [step.action.value for step in saved.steps] == ["load", "unload"]
    now = facts(TWO, {"a": [loaded("old:1", 2 * GIB), loaded("new:1", 2 * GIB)]}, ["old:1", "new:1"])
    by_now = applied(owned("m", "a", engine_name="new:1"))
    address = saved.steps[0].address
    own = SinceApproval({address: [ReplicaChange(address, 2, plan_digest=saved.digest)]})
    assert why(saved, now, want, by_now, since=own) is None
    assert why(saved, now, want, by_now) == ("unload", "it is resident and was not loaded by gpurec")


def test_one_that_makes_way_for_an_equal_one_and_comes_by_the_runner_of_that_elsewhere_still_stands():
    of = fleet(node("a", 4 * GIB, kind=EngineKind.LLAMACPP), node("b", 8 * GIB))
    blobs = {"one:1": "sha256:w", "two:1": "sha256:w", "only:1": "sha256:o"}
    want = desired(model("one:1", ["a", "b"], 3 * GIB), model("only:1", ["a"], 3 * GIB), model("two:1", ["b"], 3 * GIB, priority=1))
    seen = facts(of, {"a": [loaded("one:1", 3 * GIB)]}, [*blobs], blobs=blobs)
    before = applied(owned("one:1", "a", kind=EngineKind.LLAMACPP))
    saved = plan(of, want, seen, before)
    assert "unload model.one:1@a/llamacpp" in actions(saved)
    assert "adopt model.one:1@b/ollama" in actions(saved)
    assert first_stale_step(saved, of, want, seen, before) is None


def test_a_replica_that_is_seen_outside_the_limit_counts_though_the_state_does_not_have_it():
    want = desired(model("m:1", ["a", "b"], 5 * GIB))
    both = facts(TWO, {"a": [loaded("m:1", 5 * GIB)], "b": [loaded("m:1", 5 * GIB)]}, ["m:1"])
    for rows in ([owned("m:1", "a")], [owned("m:1", "a"), owned("m:1", "b")]):
        only = frozenset("a")
        saved = plan(TWO, want, both, applied(*rows), only)
        assert first_stale_step(saved, TWO, want, both, applied(*rows), only) is None
