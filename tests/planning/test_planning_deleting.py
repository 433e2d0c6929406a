"""`ensure: absent` deletes from disk, after what is resident has left; `ensure: present` loads nothing and keeps nothing loaded."""

from __future__ import annotations

from dataclasses import replace

from fleets import GIB, applied, desired, facts, fleet, loaded, model, node, owned, plan
from pretend import carry_out

from reconciler.execution.kinds.model.acts import names_to_delete
from reconciler.fleet import EngineId, EngineKind, Ensure, Guards, Policy
from reconciler.planning import first_stale_step, unused_tags

TWO = fleet(node("a", 24 * GIB), node("b", 24 * GIB))
ONE_MAY_GO = Policy(guards=Guards(max_delete=1))


def absent(name, nodes=("a",), **fields):
    return model(name, nodes, ensure=Ensure.ABSENT, keep_alive=None, **fields)


def steps(result):
    return [step.id for step in result.steps]


def test_what_is_to_be_absent_is_unloaded_and_then_deleted_on_every_host_that_has_it():
    seen = facts(TWO, {"a": [loaded("m:1", GIB)]}, ["m:1"])
    result = plan(TWO, desired(absent("m:1", ["a", "b"]), policy=Policy(guards=Guards(max_delete=2))), seen, applied(owned("m:1", "a")))
    assert steps(result) == ["unload:model.m:1@a/ollama", "remove:model.m:1@a/ollama", "remove:model.m:1@b/ollama"]
    assert result.steps[1].needs == ("unload:model.m:1@a/ollama",)
    assert result.refusals == ()


def test_nothing_is_deleted_unless_max_delete_says_so():
    result = plan(TWO, desired(absent("m:1", ["a", "b"])), facts(TWO, installed=["m:1"]))
    (refusal,) = result.refusals
    assert refusal.message == (
        "2 models would be deleted from disk, 0 may be, model.m:1@a/ollama among them; `policy: {guards: {max_delete: 2}}` would allow it"
    )


def test_what_is_not_installed_needs_nothing_and_after_the_deletion_the_plan_is_empty():
    want = desired(absent("m:1"), policy=ONE_MAY_GO)
    assert plan(TWO, want, facts(TWO)).empty
    seen = facts(TWO, {"a": [loaded("m:1", GIB)]}, ["m:1"])
    before = applied(owned("m:1", "a"))
    after, state = carry_out(plan(TWO, want, seen, before), seen, before)
    assert plan(TWO, want, after, state).empty


def test_a_stranger_of_that_name_leaves_too_and_one_of_another_name_stays():
    seen = facts(TWO, {"a": [loaded("m:1", GIB), loaded("x:1", GIB)]}, ["m:1", "x:1"])
    assert steps(plan(TWO, desired(absent("m:1"), policy=ONE_MAY_GO), seen)) == ["unload:model.m:1@a/ollama", "remove:model.m:1@a/ollama"]


def test_the_derived_tag_that_gpurec_made_is_deleted_with_the_model():
    seen = facts(TWO, {"a": [loaded("m:1-c8192", GIB)]}, ["m:1", "m:1-c8192"])
    before = applied(owned("m:1", "a", engine_name="m:1-c8192", context=8192))
    result = plan(TWO, desired(absent("m:1"), policy=ONE_MAY_GO), seen, before)
    assert [(step.action, step.engine_name, step.base_name) for step in result.steps] == [
        ("unload", "m:1-c8192", "m:1-c8192"),
        ("remove", "m:1-c8192", "m:1"),
    ]


def test_a_runner_that_serves_another_wanted_name_keeps_the_model_on_disk():
    blobs = {"m:1": "sha256:w", "n:1": "sha256:w"}
    seen = facts(TWO, {"a": [loaded("m:1", GIB, blob="sha256:w")]}, ["m:1", "n:1"], blobs=blobs)
    result = plan(TWO, desired(absent("m:1"), model("n:1", ["a"], GIB), policy=ONE_MAY_GO), seen, applied(owned("n:1", "a")))
    assert (steps(result), [note.code for note in result.notes]) == ([], ["in_use"])


def test_an_engine_that_deletes_nothing_is_told_of_and_asked_nothing():
    of = fleet(node("a", 24 * GIB, kind=EngineKind.LLAMACPP))
    result = plan(of, desired(absent("m"), policy=ONE_MAY_GO), facts(of, installed=["m"]))
    assert (steps(result), [note.code for note in result.notes]) == ([], ["cannot_delete"])


def test_a_saved_deletion_does_not_stand_where_the_files_do_not_ask_for_it_or_the_guard_forbids_it():
    seen = facts(TWO, installed=["m:1"])
    want = desired(absent("m:1"), policy=ONE_MAY_GO)
    saved = plan(TWO, want, seen)
    assert first_stale_step(saved, TWO, want, seen, applied()) is None
    forbidden = first_stale_step(saved, TWO, replace(want, policy=Policy()), seen, applied())
    unasked = first_stale_step(saved, TWO, desired(absent("m:1", ["b"]), policy=ONE_MAY_GO), seen, applied())
    assert forbidden is not None
    assert unasked is not None
    assert (forbidden.why, unasked.why) == ("guards.max_delete is 0", "the desired state does not ask for it to be absent there")


def test_other_models_may_still_not_all_be_unloaded_by_an_otherwise_empty_desired_state():
    seen = facts(TWO, {"a": [loaded("m:1", GIB), loaded("n:1", GIB)]}, ["m:1", "n:1"])
    result = plan(TWO, desired(absent("m:1"), policy=ONE_MAY_GO), seen, applied(owned("m:1", "a"), owned("n:1", "a")))
    assert [(one.guard, one.address) for one in result.refusals] == [("allow_empty", "model.n:1@a/ollama")]


def test_what_gpurec_kept_loaded_leaves_when_it_only_has_to_be_present_and_a_clients_load_stays():
    want = desired(model("m:1", ["a"], ensure=Ensure.PRESENT, keep_alive=None))
    ours = facts(TWO, {"a": [loaded("m:1", GIB)]}, ["m:1"])
    before = applied(owned("m:1", "a"))
    first = plan(TWO, want, ours, before)
    assert steps(first) == ["adopt:model.m:1@a/ollama", "unload:model.m:1@a/ollama"]
    after, state = carry_out(first, ours, before)
    assert plan(TWO, want, after, state).empty
    on_demand = facts(TWO, {"a": [loaded("m:1", GIB, pinned=False)]}, ["m:1"])
    assert plan(TWO, want, on_demand, state).empty


AT = EngineId("a", "ollama")
EARLIER = {AT: {"m:1-c4096": "m:1", "m:1-c8192": "m:1", "n:1-c4096": "n:1", "m:1-c512": "m:1"}}
ON_DISK = ["m:1", "m:1-c4096", "m:1-c8192", "m:1-c999", "n:1-c4096"]


def test_tags_of_earlier_contexts_go_with_the_model_as_one_deletion_that_names_them():
    before = replace(applied(owned("m:1", "a", engine_name="m:1-c8192", context=8192)), tags=EARLIER)
    (step,) = plan(TWO, desired(absent("m:1"), policy=ONE_MAY_GO), facts(TWO, installed=ON_DISK), before).steps
    assert (step.engine_name, step.base_name, step.after["tags"]) == ("m:1-c8192", "m:1", "m:1-c4096")
    assert step.reason.message == "is deleted from disk: m:1-c8192 and m:1-c4096 and m:1"
    assert names_to_delete(step) == ("m:1-c8192", "m:1-c4096", "m:1"), "and none that gpurec did not make"


def test_tags_go_also_where_the_model_itself_is_gone_already():
    seen = facts(TWO, installed=ON_DISK[1:])
    (step,) = plan(TWO, desired(absent("m:1"), policy=ONE_MAY_GO), seen, replace(applied(), tags=EARLIER)).steps
    assert names_to_delete(step) == ("m:1-c4096", "m:1-c8192", "m:1")


def test_a_saved_plan_deletes_no_other_name():
    want, seen, state = desired(absent("m:1"), policy=ONE_MAY_GO), facts(TWO, installed=ON_DISK), replace(applied(), tags=EARLIER)
    saved = plan(TWO, want, seen, state)
    assert first_stale_step(saved, TWO, want, seen, state) is None
    for name in ("m:1-c999", "n:1-c4096"):
        forged = replace(saved, steps=tuple(replace(step, after={**step.after, "tags": name}) for step in saved.steps))
        moved = first_stale_step(forged, TWO, want, seen, state)
        assert (moved.step.action, moved.why) == ("remove", "these are not its names there")


def test_a_saved_deletion_that_is_done_already_still_stands():
    before = replace(applied(owned("m:1", "a", engine_name="m:1-c8192", context=8192)), tags=EARLIER)
    want, seen = desired(absent("m:1"), policy=ONE_MAY_GO), facts(TWO, installed=ON_DISK)
    saved = plan(TWO, want, seen, before)
    assert "m:1-c8192" in names_to_delete(saved.steps[-1])
    assert first_stale_step(saved, TWO, want, facts(TWO), applied()) is None


def test_tags_that_nobody_uses_are_told_and_stay():
    before = replace(applied(owned("m:1", "a", engine_name="m:1-c8192", context=8192)), tags=EARLIER)
    want, seen = desired(model("m:1", ["a"], GIB, context=8192)), facts(TWO, {"a": [loaded("m:1-c8192", GIB, context=8192)]}, ON_DISK)
    assert unused_tags(TWO, want, seen, before) == {AT: ("m:1-c4096", "n:1-c4096")}
    assert plan(TWO, want, seen, before).empty
