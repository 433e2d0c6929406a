"""The plan after a complete apply is empty, and a saved plan stands on its own facts, where one place decides about another: somebody takes
it over, moves to where something of it is, shares what another brings there, or is beside what has its address."""

from __future__ import annotations

from dataclasses import replace

from fleets import GIB, actions, desired, fleet, loaded, model, node, owned
from properties import over_in_plan, refused
from small_worlds import on_other, settles, stands, two_engines, without, world
from wide_fleets import apply_all, carry

from reconciler.fleet import (
    CardSpec,
    ContextVia,
    Each,
    EngineFacts,
    EngineId,
    EngineKind,
    Ensure,
    Guards,
    Policy,
    Residency,
    Unmanaged,
    Variant,
    When,
    replica_address,
)


def in_ram(name, at):
    return model(name, [at], 9 * GIB, residency=Residency.CPU, min_gpu_fraction=0.0)


def test_what_a_lower_priority_has_taken_over_makes_room_for_a_higher_one_in_the_same_plan():
    of = fleet(node("a", 12 * GIB, 4 * GIB))
    want = desired(
        model("m0:1", ["a"], 6 * GIB, priority=1),
        model("m4:1", ["a"], 10 * GIB),
        model("m5:1", ["a"], 10 * GIB, each=Each.GPU),
    )
    here = world(of, want, {"a": [loaded("m5:1", 10 * GIB)]}, [owned("m5:1", "a")], sizes={"m0:1": 6, "m4:1": 10, "m5:1": 10})
    assert actions(here.plan()) == ["unload model.m5:1@a/ollama", "load model.m0:1@a/ollama"]
    assert settles(here) == []


def test_a_replica_that_moves_to_where_another_one_of_it_is_has_that_loaded_anew():
    of = fleet(node("a", 8 * GIB), node("b", 16 * GIB))
    want = desired(model("m1:1", ["a", "b"], 4 * GIB, context=8192, context_via=ContextVia.REQUEST), model("m0:1", ["a"], 7 * GIB))
    there = {"a": [loaded("m1:1", 4 * GIB, context=8192)], "b": [loaded("m1:1", 4 * GIB)]}
    here = world(of, want, there, [owned("m1:1", "a", context=8192, observed_context=8192)], sizes={"m0:1": 7, "m1:1": 4})
    assert sorted(actions(here.plan())) == ["load model.m0:1@a/ollama", "reload model.m1:1@b/ollama", "unload model.m1:1@a/ollama"]
    assert settles(here) == []


def test_a_surplus_replica_may_leave_where_its_model_comes_as_a_variant_that_another_one_loads():
    of = fleet(node("a", 12 * GIB), node("c", 4 * GIB, ram=16 * GIB))
    forms = (Variant("m2:1", 8 * GIB), Variant("m3:1", 9 * GIB))
    want = desired(model("m3:1", ["a"], 9 * GIB, priority=1), model("m2:1", ["a", "c"], variants=forms))
    there = {"c": [loaded("m2:1", 8 * GIB, fraction=0.0)]}
    here = world(of, want, there, [owned("m2:1", "c")], sizes={"m2:1": 8, "m3:1": 9})
    assert sorted(actions(here.plan())) == ["adopt model.m2:1@a/ollama", "load model.m3:1@a/ollama", "unload model.m2:1@c/ollama"]
    assert stands(here)


def test_a_replica_that_the_state_has_as_a_variant_stays_where_another_model_brings_that_back():
    of = fleet(node("a", 12 * GIB), node("c", 8 * GIB))
    forms = (Variant("m1:1", 7 * GIB), Variant("m3:1", 9 * GIB))
    want = desired(
        model("m0:1", ["c"], 2 * GIB, priority=2),
        model("m3:1", ["a"], 9 * GIB, priority=2),
        model("m1:1", ["a", "c"], replicas=2, variants=forms, priority=1),
    )
    rows = [owned("m3:1", "a"), owned("m1:1", "a", engine_name="m3:1"), owned("m1:1", "c")]
    here = world(of, want, {"c": [loaded("m1:1", 7 * GIB)]}, rows, sizes={"m0:1": 2, "m1:1": 7, "m3:1": 9})
    assert actions(here.plan()) == ["unload model.m1:1@c/ollama", "load model.m0:1@c/ollama", "load model.m3:1@a/ollama"]
    assert stands(here)


def test_of_two_residents_with_one_address_each_has_a_step_and_the_state_keeps_its_own_until_that_left():
    of = fleet(node("a", 24 * GIB))
    want = desired(model("m2:1", ["a"], 9 * GIB, ensure=Ensure.ABSENT), policy=Policy(guards=Guards(max_delete=1)))
    both = {"a": [loaded("m2:1", 9 * GIB, pinned=False), loaded("m3:1", 6 * GIB)]}
    here = world(of, want, both, [owned("m2:1", "a", engine_name="m3:1")], sizes={"m2:1": 9, "m3:1": 6})
    plan = here.plan()
    own, beside = "unload:model.m2:1@a/ollama", "unload:model.m2:1@a/ollama#m2:1"
    steps = {step.id: step for step in plan.steps}
    assert len(steps) == len(plan.steps) == 3
    assert [steps[one].engine_name for one in (own, beside)] == ["m3:1", "m2:1"]
    half = carry(here, plan, steps[beside])
    assert list(half.applied.replicas) == ["model.m2:1@a/ollama"]
    assert [step.id for step in half.plan().steps] == [own, "remove:model.m2:1@a/ollama"]
    assert list(carry(half, plan, steps[own]).applied.replicas) == []
    assert refused(here, plan, [steps[beside], steps[own]]) == refused(here, plan, [steps[own], steps[beside]]) == []


def test_an_engine_that_held_more_models_than_its_default_still_takes_as_many_after_a_part_of_the_plan():
    of = fleet(node("a", 24 * GIB))
    want = desired(*(model(name, ["a"], GIB) for name in ("m0:1", "m1:1", "m2:1", "m4:1")))
    there = {"a": [loaded(name, GIB) for name in ("m0:1", "m1:1", "m2:1", "m3:1")]}
    here = world(of, want, there, [owned(name, "a") for name in ("m0:1", "m1:1", "m2:1", "m3:1")])
    plan = here.plan()
    assert actions(plan) == ["unload model.m3:1@a/ollama", "load model.m4:1@a/ollama"]
    assert refused(here, plan, plan.steps) == []


def test_a_model_comes_to_a_card_only_after_what_is_to_leave_that_for_the_ram_has_left_it():
    limited = node("b", 4 * GIB, ram=16 * GIB, memory_limit=10 * GIB)
    of = fleet(replace(limited, gpus=(CardSpec(0, vram=4 * GIB, foreign=GIB),)))
    want = desired(model("m0:1", ["b"], 2 * GIB), model("m1:1", ["b"], 2 * GIB, residency=Residency.CPU, priority=1))
    there = {"b": [loaded("m1:1", 2 * GIB), loaded("m0:1", 2 * GIB, fraction=0.0)]}
    plan = world(of, want, there, [owned("m1:1", "b")], sizes={"m0:1": 2, "m1:1": 2}).plan()
    assert actions(plan) == ["reload model.m1:1@b/ollama", "reload model.m0:1@b/ollama"]
    assert over_in_plan(plan) == []


def test_what_a_client_brought_of_a_model_on_demand_by_now_keeps_nobody_from_another_form_that_is_there():
    of = fleet(node("a", 16 * GIB))
    forms = (Variant("m0:1", 8 * GIB), Variant("m2:1", 2 * GIB))
    want = desired(
        model("m0:1", ["a"], variants=forms, options={"num_batch": 512}),
        model("m2:1", ["a"], 2 * GIB, ensure=Ensure.PRESENT, keep_alive=None),
        model("m1:1", ["a"], 6 * GIB, priority=1),
    )
    there = {"a": [loaded("m2:1", 2 * GIB, pinned=False), loaded("m0:1", 8 * GIB, pinned=False), loaded("m1:1", 6 * GIB)]}
    here = world(of, want, there, [owned("m2:1", "a"), owned("m1:1", "a")], sizes={"m0:1": 8, "m1:1": 6, "m2:1": 2})
    assert actions(here.plan()) == ["adopt model.m2:1@a/ollama", "update model.m0:1@a/ollama"]
    assert settles(here) == []


def test_what_is_in_ram_for_one_model_is_no_replica_of_another_that_asks_for_a_card_first():
    of = fleet(node("b", 4 * GIB, ram=64 * GIB))
    want = desired(model("m5:1", ["b"], 9 * GIB, residency=Residency.GPU_PREFERRED, min_gpu_fraction=0.0, priority=2), in_ram("m4:1", "b"))
    here = world(of, want, sizes={"m4:1": 9, "m5:1": 9})
    assert actions(here.plan()) == ["load model.m4:1@b/ollama"]
    assert settles(here) == []


def test_a_name_that_an_engine_has_to_pull_stands_for_what_the_others_have_under_it():
    of = fleet(node("a", 8 * GIB), node("b", 8 * GIB))
    want = desired(model("m4:1", ["b"], 7 * GIB, protect=True))
    here = without(world(of, want, {"b": [loaded("m5:1", 7 * GIB)]}, [owned("m5:1", "b")], sizes={"m4:1": 7, "m5:1": 7}), "b", "m4:1")
    plan = here.plan()
    assert actions(plan) == ["pull model.m4:1@b/ollama", "adopt model.m4:1@b/ollama"]
    assert refused(here, plan, plan.steps) == []
    assert settles(here) == []


def test_what_is_there_outside_its_hours_for_want_of_another_place_of_its_form_is_not_placed():
    of = fleet(node("d", 8 * GIB))
    forms = (Variant("m3:1", 7 * GIB), Variant("m1:1", 2 * GIB))
    want = desired(
        model("m1:1", ["d"], 2 * GIB, replicas=0, outside_hours=True),
        model("m3:1", ["d"], variants=forms, options={"num_batch": 512}),
        model("m0:1", ["d"], 7 * GIB, priority=1),
    )
    there = {"d": [loaded("m1:1", 2 * GIB), loaded("m0:1", 7 * GIB)]}
    here = world(of, want, there, [owned("m1:1", "d"), owned("m0:1", "d")], sizes={"m0:1": 7, "m1:1": 2, "m3:1": 7})
    plan = here.plan()
    assert plan.placed == {"model.m0:1@d/ollama": "m0:1"}
    assert settles(here) == []


def test_what_is_there_for_a_model_without_a_place_is_not_placed_for_one_whose_hours_are_over_and_that_is_wanted_elsewhere():
    of = fleet(node("a", 8 * GIB), replace(node("c"), gpus=()))
    want = desired(model("m4:1", ["a"], 2 * GIB, replicas=0, outside_hours=True), model("m5:1", ["c"], 2 * GIB))
    there = {"c": [replace(loaded("m4:1", 2 * GIB), vram_bytes=0)]}
    here = world(of, want, there, [owned("m4:1", "c")], sizes={"m4:1": 2, "m5:1": 2})
    assert [one.model for one in here.plan().unplaced] == ["m5:1"]
    assert here.plan().placed == {}


def test_free_memory_of_a_card_is_not_asked_of_the_ram_where_a_model_may_run_there():
    of = fleet(replace(node("d"), gpus=(), ram=16 * GIB))
    want = desired(model("m1:1", ["d"], 2 * GIB, residency=Residency.GPU_PREFERRED, min_gpu_fraction=0.0, when=When(free_vram=64 * GIB)))
    here = world(of, want, sizes={"m1:1": 2})
    assert actions(here.plan()) == ["load model.m1:1@d/ollama"]
    assert stands(here)


def test_a_runner_keeps_its_cards_where_the_row_leaves_that_told_them():
    of = fleet(node("a", 8 * GIB, 8 * GIB))
    rows = [owned("m4:1", "a", charges=((0, GIB),)), owned("m5:1", "a", charges=((0, GIB), (1, GIB)))]
    here = world(of, desired(model("m4:1", ["a"], GIB)), {"a": [loaded("m5:1", GIB)]}, rows)
    after = apply_all(here)
    assert [(row.model, row.charges) for row in after.applied.replicas.values()] == [("m4:1", ((0, GIB), (1, GIB)))]


def test_a_client_s_resident_that_was_to_be_loaded_anew_and_found_no_room_yields_again():
    of = fleet(node("a", 12 * GIB, ram=16 * GIB))
    want = desired(
        model("m2:1", ["a"], 8 * GIB, priority=2),
        model("m3:1", ["a"], 9 * GIB, priority=1),
        model("m5:1", ["a"], 9 * GIB, residency=Residency.CPU, min_gpu_fraction=0.0),
        policy=Policy(Unmanaged.YIELD),
    )
    there = {"a": [loaded("m3:1", 9 * GIB, fraction=0.0, pinned=False)]}
    here = world(of, want, there, sizes={"m2:1": 8, "m3:1": 9, "m5:1": 9})
    assert sorted(actions(here.plan())) == ["load model.m2:1@a/ollama", "load model.m5:1@a/ollama", "unload model.m3:1@a/ollama"]
    assert settles(here) == []


def test_a_replica_that_was_one_too_many_stays_where_the_other_is_displaced_though_its_engine_is_over_its_own_limit():
    of = fleet(node("a", 12 * GIB), node("b", 8 * GIB, memory_limit=6 * GIB))
    want = desired(model("m5:1", ["a", "b"], 7 * GIB), model("m1:1", ["a"], 10 * GIB, priority=1))
    both = {"a": [loaded("m5:1", 7 * GIB)], "b": [loaded("m5:1", 7 * GIB)]}
    here = world(of, want, both, [owned("m5:1", "a"), owned("m5:1", "b")], sizes={"m1:1": 10, "m5:1": 7})
    assert actions(here.plan()) == ["unload model.m5:1@a/ollama", "load model.m1:1@a/ollama"]
    assert stands(here)


def test_what_runs_under_a_tag_of_its_own_context_moves_for_others_as_anything_else():
    of = fleet(node("a", 12 * GIB), node("b", 12 * GIB))
    small = [model(name, ["a", "b"], 4 * GIB, context=8192, context_via=ContextVia.TAG) for name in ("m1:1", "m3:1")]
    here = world(of, desired(*small), sizes={"m0:1": 10, "m1:1": 4, "m3:1": 4}, selected=frozenset({"a"}))
    tagged = replace(apply_all(here), desired=desired(*small, model("m0:1", ["a"], 10 * GIB)), selected=None)
    assert {"load model.m0:1@a/ollama", "load model.m1:1@b/ollama", "load model.m3:1@b/ollama"} <= set(actions(tagged.plan()))
    assert settles(tagged) == []


def test_what_was_to_leave_for_a_place_that_its_model_lost_again_stays():
    of = fleet(node("a", 8 * GIB), replace(node("c"), gpus=()))
    want = desired(model("m3:1", ["a"], 4 * GIB, priority=2), model("m4:1", ["a", "c"], 7 * GIB), model("m5:1", ["a"], 7 * GIB))
    there = {"a": [loaded("m5:1", 7 * GIB)], "c": [replace(loaded("m4:1", 7 * GIB), vram_bytes=0)]}
    here = world(of, want, there, [owned("m4:1", "c")], sizes={"m3:1": 4, "m4:1": 7, "m5:1": 7})
    assert actions(here.plan()) == ["unload model.m5:1@a/ollama", "load model.m3:1@a/ollama"]
    assert stands(here)
    assert settles(here) == []


def test_room_that_was_made_for_one_replica_is_used_before_another_model_leaves_for_the_next():
    of = fleet(two_engines("a", 12 * GIB), node("b", 12 * GIB))
    low = model("m1:1", ["a"], 11 * GIB), model("m2:1", ["b"], 11 * GIB, priority=1)
    there = {"a": [loaded("m1:1", 11 * GIB)], "b": [loaded("m2:1", 11 * GIB)]}
    want = desired(model("m0:1", ["a", "b"], 2 * GIB, priority=2, replicas=2), *low)
    one = world(of, want, there, [owned("m1:1", "a"), owned("m2:1", "b")], sizes={"m0:1": 2, "m1:1": 11, "m2:1": 11})
    here = replace(one, facts=on_other(one.facts, "a"))
    assert actions(here.plan()) == ["unload model.m1:1@a/ollama", "load model.m0:1@a/ollama", "load model.m0:1@a/other"]
    assert stands(here)
    assert settles(here) == []


def test_room_that_was_made_on_a_card_for_one_engine_is_used_before_more_leaves_for_the_next():
    both = two_engines("a", 12 * GIB, 12 * GIB)
    both = replace(both, engines=(replace(both.engines[0], gpus=(0,)), both.engines[1]))
    low = model("m1:1", ["a"], 11 * GIB), model("m2:1", ["a"], 11 * GIB)
    want = desired(model("m0:1", ["a"], 2 * GIB, priority=2, each=Each.ENGINE, never_with=("m3:1",)), *low, model("m3:1", ["a"], 99 * GIB))
    at = EngineId("a", "other")
    row = replace(owned("m2:1", "a", 11 * GIB), at=at, address=replica_address("m2:1", at), charges=((1, 11 * GIB),))
    one = world(fleet(both), want, {"a": [loaded("m1:1", 11 * GIB)]}, [owned("m1:1", "a"), row], sizes={"m0:1": 2, "m1:1": 11, "m2:1": 11})
    here = replace(one, facts=on_other(one.facts, "a", loaded("m2:1", 11 * GIB)))
    assert actions(here.plan()) == ["unload model.m1:1@a/ollama", "load model.m0:1@a/ollama", "load model.m0:1@a/other"]
    assert stands(here)
    assert settles(here) == []


def test_a_replica_comes_where_its_foe_left_before_one_of_that_waits_for_an_engine_that_nobody_can_ask():
    three = two_engines("a", 12 * GIB)
    three = replace(three, engines=(*three.engines, replace(three.engines[0], id=EngineId("a", "lost"), url="http://a:3")))
    want = desired(
        model("m1:1", ["a"], 2 * GIB, priority=1, replicas=3, never_with=("m2:1",)), model("m2:1", ["a"], 11 * GIB, each=Each.ENGINE)
    )
    one = world(fleet(three), want, {"a": [loaded("m2:1", 11 * GIB)]}, [owned("m2:1", "a")], sizes={"m1:1": 2, "m2:1": 11})
    seen = on_other(one.facts, "a")
    engines = seen.nodes["a"].engines
    down = EngineFacts(EngineId("a", "lost"), EngineKind.OLLAMA, False, "connection refused", "refused")
    here = replace(one, facts=replace(seen, nodes={"a": replace(seen.nodes["a"], engines={**engines, "lost": down})}))
    assert actions(here.plan()) == ["unload model.m2:1@a/ollama", "load model.m1:1@a/ollama", "load model.m1:1@a/other"]
    assert stands(here)
    assert settles(here) == []


def test_what_is_wanted_once_a_card_does_not_come_back_as_a_stranger_on_an_engine_with_several() -> None:
    """What a client loaded there yields for the replica; its place is none that the model is wanted in."""
    one = node("a", 24 * GIB, 12 * GIB)
    other = replace(one.engines[0], id=EngineId("a", "other"), url="http://a:2", gpus=(1,))
    of = fleet(replace(one, engines=(*one.engines, other)))
    want = desired(model("m0:1", ["a"], 10 * GIB, each=Each.GPU), policy=Policy(Unmanaged.YIELD))
    there = world(of, want, {"a": [loaded("m0:1", 10 * GIB, pinned=False)]}, sizes={"m0:1": 10})
    there = replace(there, facts=on_other(there.facts, "a"))
    assert actions(there.plan()) == ["unload model.m0:1@a/ollama", "load model.m0:1@a/other"]
    assert settles(there) == []
