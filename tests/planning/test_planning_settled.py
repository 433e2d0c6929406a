"""Cases where a plan was not the last word: the next one, over a world where every step had worked, wanted something else again, or it did
not stand on the very facts that it was made from. Each was found by `test_planning_wide.py` and is the smallest that shows it."""

from __future__ import annotations

from dataclasses import replace

from fleets import GIB, actions, desired, fleet, loaded, model, node, owned, plan
from small_worlds import NAMES, on_other, settles, stands, two_engines, world
from wide_fleets import apply_all

from reconciler.fleet import (
    ContextVia,
    Each,
    EngineId,
    Ensure,
    Installed,
    Policy,
    Residency,
    Spread,
    Strategy,
    Unmanaged,
    Variant,
)


def test_what_is_only_to_be_installed_owns_no_resident_of_the_same_weights():
    of = fleet(node("b", 8 * GIB), node("c", 8 * GIB))
    want = desired(
        model("m5:1", ["c"], 8 * GIB, ensure=Ensure.PRESENT, keep_alive=None),
        model("m4:1", ["b", "c"], 8 * GIB),
    )
    here = world(of, want, {"b": [loaded("m4:1", 8 * GIB)], "c": [loaded("m4:1", 8 * GIB)]})
    assert actions(here.plan()) == ["adopt model.m4:1@b/ollama", "adopt model.m5:1@c/ollama"]
    assert settles(here) == []


def test_a_client_s_resident_of_a_model_on_demand_yields_though_the_state_had_it_loaded_once():
    of = fleet(node("a", 12 * GIB))
    want = desired(
        model("m0:1", ["a"], 10 * GIB, ensure=Ensure.PRESENT, keep_alive=None),
        model("m3:1", ["a"], 7 * GIB),
        policy=Policy(Unmanaged.YIELD),
    )
    here = world(of, want, {"a": [loaded("m0:1", 10 * GIB, pinned=False)]}, [owned("m0:1", "a")], sizes={"m3:1": 7})
    steps = here.plan().steps
    assert [step.id for step in steps] == ["adopt:model.m0:1@a/ollama", "unload:model.m0:1@a/ollama", "load:model.m3:1@a/ollama"]
    assert steps[1].reason.message == "is there on demand and yields its room to m3:1"
    assert stands(here)
    assert settles(here) == []


def test_a_written_spread_holds_among_the_engines_of_each_also_for_what_is_found_there():
    of = fleet(two_engines("a", 8 * GIB))
    want = desired(
        model("m5:1", ["a"], 2 * GIB, each=Each.ENGINE),
        model("m4:1", ["a"], 2 * GIB, each=Each.ENGINE, spread=Spread.GPU, spread_hard=True),
    )
    assert settles(world(of, want, sizes={"m4:1": 2, "m5:1": 2})) == []


def test_what_fell_to_the_cpu_is_reloaded_in_its_place_once_a_lower_priority_has_left_the_card():
    of = fleet(node("a", 4 * GIB))
    want = desired(model("m3:1", ["a"], 3 * GIB), model("m0:1", ["a"], 1 * GIB, priority=1))
    here = world(of, want, {"a": [loaded("m3:1", 4 * GIB), loaded("m0:1", 1 * GIB, fraction=0.0)]})
    assert actions(here.plan()) == ["unload model.m3:1@a/ollama", "reload model.m0:1@a/ollama"]
    assert stands(here)
    assert settles(here) == []


def test_what_is_not_as_wanted_and_cannot_be_mended_in_its_place_leaves_for_a_higher_priority():
    of = fleet(node("a", 8 * GIB))
    want = desired(model("m1:1", ["a"], 9 * GIB, context=8192), model("m0:1", ["a"], 7 * GIB, priority=1))
    here = world(of, want, {"a": [loaded("m1:1", 6 * GIB)]}, [owned("m1:1", "a")], sizes={"m0:1": 7})
    assert actions(here.plan()) == ["unload model.m1:1@a/ollama", "load model.m0:1@a/ollama"]
    assert settles(here) == []


def test_a_displaced_model_keeps_its_other_replica_before_an_equal_one_gets_that_room():
    of = fleet(node("a", 8 * GIB), node("c", 8 * GIB))
    want = desired(model("m4:1", ["a", "c"], 7 * GIB), model("m1:1", ["a"], 7 * GIB, priority=1), model("m0:1", ["c"], 2 * GIB))
    both = {"a": [loaded("m4:1", 7 * GIB)], "c": [loaded("m4:1", 7 * GIB)]}
    here = world(of, want, both, [owned("m4:1", "a"), owned("m4:1", "c")], sizes={"m1:1": 7})
    assert actions(here.plan()) == ["unload model.m4:1@a/ollama", "load model.m1:1@a/ollama"]
    assert stands(here)
    assert settles(here) == []


def test_of_two_residents_on_a_node_the_other_stays_when_the_first_is_displaced():
    of = fleet(two_engines("b", 12 * GIB))
    want = desired(model("m0:1", ["b"], 3 * GIB, each=Each.NODE), model("m1:1", ["b"], 7 * GIB, priority=1))
    here = world(of, want, {"b": [loaded("m0:1", 3 * GIB)]}, sizes={"m1:1": 7})
    here = replace(here, facts=on_other(here.facts, "b", loaded("m0:1", 3 * GIB)))
    assert settles(here) == []


def test_room_that_an_eviction_makes_on_a_card_serves_the_other_engine_of_that_card_in_the_same_plan():
    of = fleet(two_engines("c", 8 * GIB))
    want = desired(model("m1:1", ["c"], 2 * GIB, each=Each.GPU), policy=Policy(Unmanaged.YIELD))
    here = world(of, want, sizes={"m1:1": 2})
    here = replace(here, facts=on_other(here.facts, "c", loaded("m4:1", 10 * GIB, pinned=False)))
    assert actions(here.plan()) == [
        "unload model.m4:1@c/other",
        "load model.m1:1@c/ollama",
        "load model.m1:1@c/other",
    ]
    assert settles(here) == []


def test_a_model_on_demand_that_is_evicted_asks_for_no_place():
    of = fleet(node("a", 8 * GIB), node("d", 12 * GIB))
    want = desired(
        model("m0:1", ["a", "d"], 9 * GIB, ensure=Ensure.PRESENT, keep_alive=None, each=Each.NODE),
        model("m3:1", ["a", "d"], 7 * GIB, each=Each.NODE, priority=1),
        policy=Policy(Unmanaged.YIELD),
    )
    here = world(of, want, {"d": [loaded("m0:1", 9 * GIB, pinned=False)]}, sizes={"m3:1": 7})
    assert "unload model.m0:1@d/ollama" in actions(here.plan())
    assert stands(here)
    assert settles(here) == []


def test_a_variant_that_is_also_wanted_by_itself_is_one_resident_for_both():
    of = fleet(node("c", 12 * GIB))
    want = desired(
        model("m2:1", ["c"], variants=(Variant("m2:1", 2 * GIB), Variant("m3:1", 8 * GIB))),
        model("m3:1", ["c"], 8 * GIB),
    )
    here = world(of, want, sizes={"m2:1": 2, "m3:1": 8})
    assert actions(here.plan()) == ["load model.m2:1@c/ollama", "load model.m3:1@c/ollama"]
    assert settles(here) == []
    big = replace(want.models[0], variants=(Variant("m2:1", 20 * GIB), Variant("m3:1", 8 * GIB)))
    here = world(of, replace(want, models=(big, want.models[1])), sizes={"m3:1": 8})
    assert actions(here.plan()) == ["load model.m2:1@c/ollama", "adopt model.m3:1@c/ollama"]
    assert settles(here) == []


def test_a_resident_with_the_asked_context_gets_the_derived_tag_that_requests_are_to_use():
    of = fleet(node("b", 12 * GIB))
    want = desired(model("m0:1", ["b"], 9 * GIB, context=8192, context_via=ContextVia.TAG))
    here = world(of, want, {"b": [loaded("m0:1", 9 * GIB, context=8192)]})
    steps = here.plan().steps
    assert [(step.action.value, step.reason.code) for step in steps] == [("tag", "make_tag"), ("adopt", "found_resident")]
    assert steps[1].needs == (steps[0].id,)
    assert list(apply_all(here).applied.replicas) == ["model.m0:1@b/ollama"]
    assert settles(here) == []


def test_a_name_that_is_to_be_deleted_stays_while_its_runner_is_resident_for_another_wanted_name():
    of = fleet(node("a", 4 * GIB))
    want = desired(model("m4:1", ["a"], ensure=Ensure.ABSENT), model("m5:1", ["a"], 8 * GIB, residency=Residency.CPU, min_gpu_fraction=0.0))
    here = world(of, want, {"a": [loaded("m4:1", 8 * GIB)]})
    result = here.plan()
    assert actions(result) == []
    assert [note.code for note in result.notes if note.address == "model.m4:1@a/ollama"] == ["in_use"]


def test_a_model_on_the_cpu_of_a_node_with_cards_takes_ram_also_once_it_is_there():
    of = fleet(replace(two_engines("a", 4 * GIB), ram=16 * GIB))
    want = desired(model("m2:1", ["a"], 9 * GIB, each=Each.ENGINE, residency=Residency.CPU, min_gpu_fraction=0.0))
    here = world(of, want, sizes={"m2:1": 9})
    assert actions(here.plan()) == ["load model.m2:1@a/ollama"]
    assert settles(here) == []


def test_reloads_that_shrink_come_before_those_that_they_make_room_for():
    of = fleet(replace(node("a", 12 * GIB), ram=64 * GIB))
    want = desired(
        model("m4:1", ["a"], 5 * GIB, residency=Residency.CPU, min_gpu_fraction=0.0),
        model("m0:1", ["a"], 10 * GIB),
    )
    here = world(of, want, {"a": [loaded("m0:1", 10 * GIB, fraction=0.5), loaded("m4:1", 5 * GIB)]}, sizes={"m4:1": 5, "m0:1": 10})
    result = here.plan()
    assert actions(result) == ["reload model.m4:1@a/ollama", "reload model.m0:1@a/ollama"]
    assert all(card.peak_bytes <= max(card.usable_bytes, card.before_bytes) for card in result.gpus)
    assert stands(here)


def test_a_reload_does_not_wait_for_itself():
    cards = node("b", 8 * GIB, 4 * GIB)
    first = cards.engines[0]
    others = [replace(first, id=EngineId("b", name), gpus=(index,), url=f"http://b:{index}") for index, name in enumerate(("one", "other"))]
    of = fleet(replace(cards, engines=(first, *others)))
    want = desired(model("m0:1", ["b"], 3 * GIB, options={"num_batch": 512}))
    here = world(of, want, {"b": [loaded("m0:1", 3 * GIB)]}, [owned("m0:1", "b")])
    node_facts = here.facts.nodes["b"]
    told = tuple(Installed(name, 5 * GIB, blob=f"sha256:{name}") for name in NAMES)
    residents = {"ollama": loaded("m0:1", 3 * GIB), "one": loaded("m1:1", 4 * GIB), "other": loaded("m2:1", 3 * GIB)}
    engines = {
        name: replace(node_facts.engines[name], installed=told, residents=(replace(one, blob=f"sha256:{one.name}"),))
        for name, one in residents.items()
    }
    here = replace(here, facts=replace(here.facts, nodes={"b": replace(node_facts, engines=engines)}))
    assert actions(here.plan()) == ["reload model.m0:1@b/ollama"]


def test_a_stranger_elsewhere_may_go_though_the_wanted_replica_only_comes_with_a_load_of_its_twin():
    of = fleet(node("a", 12 * GIB), node("b", ram=64 * GIB))
    want = desired(model("m4:1", ["a"], 2 * GIB), model("m5:1", ["a"], 2 * GIB, priority=1), policy=Policy(Unmanaged.UNLOAD))
    here = world(of, want, {"b": [loaded("m4:1", 2 * GIB)]}, [owned("m4:1", "a")])
    assert "unload model.m4:1@b/ollama" in actions(here.plan())
    assert stands(here)


def test_outside_the_limit_what_is_seen_to_be_gone_is_no_reason_to_unload_the_one_that_is_left():
    of = fleet(node("a", 12 * GIB), node("c", 24 * GIB))
    want = desired(model("m3:1", ["c"], 1 * GIB))
    here = world(of, want, {"a": [loaded("m3:1", 1 * GIB)]}, [owned("m3:1", "a"), owned("m3:1", "c")], frozenset({"a"}))
    assert actions(here.plan()) == []


def test_two_variants_of_a_model_on_one_engine_leave_each_for_itself():
    of = fleet(node("a", 24 * GIB, memory_limit=10 * GIB), node("b", 4 * GIB))
    want = desired(
        model("m2:1", ["a"], 9 * GIB, priority=1),
        model("m3:1", ["a", "b"], 2 * GIB),
        model("m1:1", ["a"], variants=(Variant("m1:1", 8 * GIB), Variant("m3:1", 2 * GIB))),
    )
    here = world(of, want, {"a": [loaded("m3:1", 2 * GIB), loaded("m1:1", 8 * GIB)]}, sizes={"m1:1": 8, "m2:1": 9, "m3:1": 2})
    assert "unload model.m1:1@a/ollama" in actions(here.plan())
    assert "unload model.m3:1@a/ollama" in actions(here.plan())
    assert stands(here)
    assert settles(here) == []


def test_a_replica_that_stays_off_its_nodes_until_it_has_a_place_counts_as_there():
    of = fleet(node("b", 4 * GIB), node("c", 24 * GIB), node("d", 24 * GIB))
    want = desired(model("m1:1", ["b"], 6 * GIB, context=8192), policy=Policy(Unmanaged.UNLOAD))
    both = {"c": [loaded("m1:1", 6 * GIB)], "d": [loaded("m1:1", 6 * GIB)]}
    here = world(of, want, both, [owned("m1:1", "d")])
    assert actions(here.plan()) == ["unload model.m1:1@c/ollama"]
    assert stands(here)


def test_a_model_whose_need_nobody_knows_shares_the_runner_of_another_one_that_is_a_variant_of_it():
    of = fleet(node("a", 12 * GIB))
    either = model("m3:1", ["a"], variants=(Variant("m3:1", 20 * GIB), Variant("m0:1", 3 * GIB)))
    here = world(of, desired(model("m0:1", ["a"], None, priority=1), either), sizes={"m0:1": 3})
    assert actions(here.plan()) == ["load model.m3:1@a/ollama", "adopt model.m0:1@a/ollama"]
    assert settles(here) == []


def test_what_the_state_has_on_an_engine_that_cannot_be_asked_counts_before_what_came_to_be_on_another_one_of_the_node():
    of = fleet(two_engines("a", 8 * GIB))
    want = desired(model("m4:1", ["a"], 1 * GIB, each=Each.ENGINE), model("m5:1", ["a"], 1 * GIB, each=Each.NODE))
    here = world(of, want, rows=[replace(owned("m5:1", "a"), address="model.m5:1@a/other", at=EngineId("a", "other"))])
    down = replace(here.facts.nodes["a"].engines["other"], reachable=False, installed=None, residents=None)
    there = replace(here.facts.nodes["a"], engines={**here.facts.nodes["a"].engines, "other": down})
    here = replace(here, facts=replace(here.facts, nodes={"a": there}))
    assert actions(here.plan()) == ["load model.m4:1@a/ollama"]
    assert settles(here) == []


def test_where_one_variant_was_displaced_the_other_that_is_there_too_is_the_model_at_once():
    of = fleet(node("a", 10 * GIB))
    either = model(
        "m1:1", ["a"], variants=(Variant("m1:1", 6 * GIB), Variant("m2:1", 4 * GIB)), context=8192, context_via=ContextVia.REQUEST
    )
    want = desired(either, model("m4:1", ["a"], 3 * GIB, priority=1))
    both = {"a": [loaded("m1:1", 5 * GIB), loaded("m2:1", 4 * GIB)]}
    here = world(of, want, both, [owned("m1:1", "a"), owned("m2:1", "a")], sizes={"m1:1": 6, "m2:1": 4, "m4:1": 3})
    assert actions(here.plan()) == ["unload model.m1:1@a/ollama", "load model.m4:1@a/ollama", "reload model.m1:1@a/ollama"]
    assert stands(here)
    assert settles(here) == []


def test_what_is_to_be_in_ram_is_packed_by_the_free_ram_and_not_by_the_cards():
    of = fleet(node("a", 4 * GIB, ram=32 * GIB), node("b", 24 * GIB, ram=16 * GIB))
    in_ram = model("m0:1", ["a", "b"], 9 * GIB, residency=Residency.CPU, min_gpu_fraction=0.0)
    here = world(of, desired(in_ram, strategy=Strategy.BINPACK), sizes={"m0:1": 9})
    assert actions(here.plan()) == ["load model.m0:1@b/ollama"]
    small = replace(here, fleet=fleet(of.nodes["a"]), desired=desired(replace(in_ram, nodes=("a",)), strategy=Strategy.BINPACK))
    assert actions(small.plan()) == ["load model.m0:1@a/ollama"]


def test_a_resident_that_is_a_variant_of_another_model_too_may_leave_as_the_one_that_it_was_loaded_as():
    of = fleet(node("a", 12 * GIB), node("b", 12 * GIB))
    either = model("m2:1", ["a"], variants=(Variant("m2:1", 2 * GIB), Variant("m3:1", 4 * GIB)), priority=2, each=Each.ENGINE)
    want = desired(model("m0:1", ["a"], 7 * GIB, priority=2), model("m3:1", ["a", "b"], 4 * GIB, priority=1), either)
    both = {"a": [loaded("m2:1", 2 * GIB), loaded("m3:1", 4 * GIB)]}
    here = world(of, want, both, [owned("m2:1", "a"), owned("m3:1", "a")], sizes={"m0:1": 7, "m2:1": 2, "m3:1": 4})
    assert "unload model.m3:1@a/ollama" in actions(here.plan())
    assert stands(here)
    assert settles(here) == []


def test_a_client_s_resident_of_a_wanted_model_yields_also_in_a_saved_plan_where_it_cannot_serve_as_wanted():
    of = fleet(node("a", 8 * GIB))
    on_the_cpu = model("m0:1", ["a"], 5 * GIB, residency=Residency.CPU, min_gpu_fraction=0.0, priority=2)
    want = desired(on_the_cpu, model("m3:1", ["a"], 4 * GIB), policy=Policy(Unmanaged.YIELD))
    here = world(of, want, {"a": [loaded("m0:1", 5 * GIB, pinned=False)]}, sizes={"m0:1": 5, "m3:1": 4})
    assert actions(here.plan()) == ["unload model.m0:1@a/ollama", "load model.m3:1@a/ollama"]
    assert stands(here)
    assert settles(here) == []


def test_the_helpers_carry_a_plan_out():
    of = fleet(node("a", 12 * GIB))
    here = world(of, desired(model("m0:1", ["a"], 2 * GIB)), sizes={"m0:1": 2})
    after = apply_all(here)
    assert [one.name for one in after.facts.engine(EngineId("a", "ollama")).residents] == ["m0:1"]
    assert plan(of, here.desired, after.facts, after.applied).empty


def test_a_load_of_the_weights_that_leave_the_same_engine_waits_until_they_left():
    of = fleet(replace(node("a", 4 * GIB), ram=8 * GIB))
    either = model("m1:1", ["a"], priority=1, variants=(Variant("m1:1", 20 * GIB), Variant("m2:1", 1 * GIB)))
    in_ram = model("m2:1", ["a"], 1 * GIB, residency=Residency.CPU, min_gpu_fraction=0.0)
    there = {"a": [loaded("m0:1", 3 * GIB), loaded("m2:1", 1 * GIB, fraction=0.0)]}
    here = world(of, desired(either, in_ram, model("m0:1", ["a"], 3 * GIB)), there, [owned("m2:1", "a"), owned("m0:1", "a")])
    steps = here.plan().steps
    assert [step.id for step in steps][-1] == "load:model.m1:1@a/ollama"
    assert steps[-1].engine_name == "m2:1"
    assert steps[-1].needs == ("unload:model.m0:1@a/ollama", "unload:model.m2:1@a/ollama")
    assert settles(here) == []
    assert stands(here)


def test_a_reload_on_an_engine_that_holds_more_models_than_it_takes_waits_until_the_others_left():
    one = node("a", 12 * GIB)
    of = fleet(replace(one, engines=(replace(one.engines[0], env={"OLLAMA_MAX_LOADED_MODELS": "1"}),)))
    want = desired(model("m0:1", ["a"], 2 * GIB))
    here = world(of, want, {"a": [loaded("m0:1", 2 * GIB, fraction=0.5), loaded("m1:1", 1 * GIB)]}, [owned("m1:1", "a")])
    steps = here.plan().steps
    assert [step.id for step in steps] == ["unload:model.m1:1@a/ollama", "reload:model.m0:1@a/ollama"]
    assert steps[1].needs == (steps[0].id,)
    assert stands(here)
