"""The plan after a complete apply is empty where a resident is several models, where a model has several residents on one engine, and where
the state has one of them under another name."""

from __future__ import annotations

from fleets import GIB, actions, desired, fleet, loaded, model, node, owned
from small_worlds import settles, stands, world

from reconciler.fleet import ContextVia, Each, EngineKind, Policy, Unmanaged, Variant, When


def variants(*names: str, size: int = 1) -> tuple[Variant, ...]:
    return tuple(Variant(name, size * GIB) for name in names)


def test_a_second_form_of_a_model_on_one_engine_leaves_and_its_room_is_given_away_at_once():
    of = fleet(node("a", 8 * GIB))
    want = desired(
        model("m1:1", ["a"], each=Each.ENGINE, variants=(Variant("m1:1", 4 * GIB), Variant("m3:1", 3 * GIB))),
        model("m0:1", ["a"], 2 * GIB),
    )
    both = {"a": [loaded("m1:1", 4 * GIB), loaded("m3:1", 3 * GIB)]}
    here = world(of, want, both, [owned("m1:1", "a"), owned("m3:1", "a")], sizes={"m0:1": 2, "m1:1": 4, "m3:1": 3})
    assert actions(here.plan()) == ["unload model.m3:1@a/ollama", "load model.m0:1@a/ollama"]
    assert settles(here) == []


def test_of_two_forms_on_one_engine_the_one_stays_that_no_other_model_has_taken():
    of = fleet(node("a", 8 * GIB))
    want = desired(
        model("m1:1", ["a"], 20 * GIB, each=Each.ENGINE, priority=2, variants=(Variant("m1:1", 20 * GIB), Variant("m2:1", GIB))),
        model("m2:1", ["a"], GIB, each=Each.NODE, variants=variants("m2:1", "m3:1")),
    )
    both = {"a": [loaded("m2:1", GIB), loaded("m3:1", GIB)]}
    here = world(of, want, both, [owned("m1:1", "a", engine_name="m2:1"), owned("m2:1", "a", engine_name="m3:1")])
    assert actions(here.plan()) == []


def test_a_form_that_leaves_for_a_load_does_not_take_the_other_s_chance_to_be_loaded_anew():
    of = fleet(node("a", 8 * GIB))
    either = (Variant("m0:1", 7 * GIB), Variant("m3:1", 2 * GIB))
    want = desired(
        model("m3:1", ["a"], 2 * GIB),
        model("m0:1", ["a"], priority=1, variants=either, context=8192, context_via=ContextVia.REQUEST),
    )
    there = {"a": [loaded("m0:1", 7 * GIB, fraction=0.0, context=8192), loaded("m3:1", 2 * GIB)]}
    here = world(of, want, there, [owned("m0:1", "a", context=8192)], sizes={"m0:1": 7, "m3:1": 2})
    assert actions(here.plan()) == ["unload model.m3:1@a/ollama", "reload model.m0:1@a/ollama"]
    assert stands(here)
    assert settles(here) == []


def test_where_the_better_form_is_not_as_wanted_and_has_no_room_the_other_that_is_there_stays():
    of = fleet(node("a", 8 * GIB))
    either = (Variant("m0:1", 7 * GIB), Variant("m3:1", 2 * GIB))
    want = desired(model("m4:1", ["a"], 5 * GIB), model("m0:1", ["a"], priority=1, variants=either))
    there = {"a": [loaded("m4:1", 5 * GIB), loaded("m0:1", 7 * GIB, fraction=0.0), loaded("m3:1", 2 * GIB)]}
    here = world(of, want, there, [owned("m4:1", "a")], sizes={"m0:1": 7, "m3:1": 2, "m4:1": 5})
    assert actions(here.plan()) == ["adopt model.m0:1@a/ollama"]
    assert settles(here) == []


def test_what_was_loaded_as_a_form_that_the_model_has_no_more_leaves_once_the_model_is_there_as_it_is_now():
    of = fleet(node("a", 12 * GIB), node("b", 2 * GIB))
    want = desired(model("m2:1", ["a", "b"], 7 * GIB, each=Each.ENGINE))
    here = world(of, want, {"a": [loaded("m1:1", 2 * GIB)]}, [owned("m2:1", "a", engine_name="m1:1")], sizes={"m1:1": 2, "m2:1": 7})
    assert here.plan().unplaced[0].count == 1
    assert sorted(actions(here.plan())) == ["load model.m2:1@a/ollama", "unload model.m2:1@a/ollama"]
    assert settles(here) == []
    told = world(of, desired(*want.models, policy=Policy(Unmanaged.UNLOAD)), here.facts and {"a": [loaded("m1:1", 2 * GIB)]})
    assert settles(told) == []


def test_the_state_learns_by_an_adoption_that_a_model_is_there_in_another_form():
    of = fleet(node("a", 24 * GIB, kind=EngineKind.LLAMACPP))
    want = desired(model("m1:1", ["a"], each=Each.ENGINE, variants=variants("m1:1", "m2:1")))
    row = owned("m1:1", "a", kind=EngineKind.LLAMACPP, ensure="present")
    mine = owned("m2:1", "a", kind=EngineKind.LLAMACPP)
    here = world(of, want, {"a": [loaded("m2:1", GIB)]}, [row, mine])
    assert actions(here.plan()) == ["adopt model.m1:1@a/llamacpp"]
    assert settles(here) == []


def test_a_resident_that_the_state_has_for_another_model_is_loaded_anew_where_the_options_differ():
    of = fleet(node("a", 12 * GIB, 12 * GIB))
    want = desired(model("m3:1", ["a"], each=Each.ENGINE, options={"num_batch": 512}, variants=variants("m0:1", size=4)))
    here = world(of, want, {"a": [loaded("m0:1", 4 * GIB)]}, [owned("m0:1", "a")], sizes={"m0:1": 4})
    assert actions(here.plan()) == ["reload model.m3:1@a/ollama"]
    assert settles(here) == []


def test_a_name_of_a_runner_that_the_state_has_under_another_tag_is_told_to_the_state():
    of = fleet(node("a", 12 * GIB))
    want = desired(model("m4:1", ["a"], GIB, context=8192), model("m5:1", ["a"], GIB))
    here = world(of, want, {"a": [loaded("m4:1", GIB, context=8192)]}, [owned("m4:1", "a")])
    assert "adopt model.m4:1@a/ollama" in actions(here.plan())
    assert settles(here) == []


def test_what_stayed_on_a_card_that_was_too_full_does_not_stay_beside_a_reload_that_grows():
    of = fleet(node("a", 8 * GIB))
    want = desired(model("m4:1", ["a"], 2 * GIB, priority=2), model("m3:1", ["a"], 7 * GIB))
    there = {"a": [loaded("m4:1", 2 * GIB, fraction=0.5), loaded("m2:1", 4 * GIB), loaded("m3:1", 7 * GIB)]}
    here = world(of, want, there, [owned("m2:1", "a")], sizes={"m4:1": 2, "m3:1": 7})
    plan = here.plan()
    assert actions(plan) == ["unload model.m2:1@a/ollama", "unload model.m3:1@a/ollama", "reload model.m4:1@a/ollama"]
    assert stands(here)
    assert settles(here) == []


def test_a_resident_stays_what_the_state_has_it_for_though_an_equal_model_could_be_it_too():
    of = fleet(node("a", 8 * GIB))
    want = desired(
        model("m0:1", ["a"], each=Each.ENGINE, variants=(Variant("m0:1", 20 * GIB), Variant("m1:1", 5 * GIB)), options={"num_batch": 512}),
        model("m1:1", ["a"], 5 * GIB),
    )
    here = world(of, want, {"a": [loaded("m1:1", 5 * GIB)]}, [owned("m1:1", "a")], sizes={"m1:1": 5})
    assert actions(here.plan()) == []


def test_weights_that_a_stranger_runs_otherwise_are_loaded_anew_in_their_place_where_ours_are_another_form():
    of = fleet(node("a", 8 * GIB))
    either = (Variant("m2:1", 20 * GIB), Variant("m1:1", 5 * GIB))
    want = desired(model("m2:1", ["a"], each=Each.ENGINE, context=8192, context_via=ContextVia.REQUEST, variants=either))
    both = {"a": [loaded("m2:1", 3 * GIB), loaded("m1:1", 5 * GIB)]}
    here = world(of, want, both, [owned("m2:1", "a")], sizes={"m1:1": 5, "m2:1": 3})
    assert actions(here.plan()) == ["unload model.m2:1@a/ollama", "reload model.m2:1@a/ollama"]
    assert stands(here)
    assert settles(here) == []


def test_a_saved_plan_knows_that_the_form_that_stays_is_another_resident_than_the_one_that_leaves():
    of = fleet(node("a", 12 * GIB))
    want = desired(model("m0:1", ["a"], each=Each.ENGINE, context=8192, variants=variants("m0:1", "m1:1", size=4)))
    both = {"a": [loaded("m1:1", 4 * GIB, context=8192), loaded("m0:1", 4 * GIB)]}
    here = world(of, want, both, [owned("m0:1", "a", engine_name="m1:1"), owned("m9:1", "a", engine_name="m0:1")])
    assert "unload model.m9:1@a/ollama" in actions(here.plan())
    assert stands(here)
    assert settles(here) == []


def test_what_comes_only_where_memory_is_free_takes_over_no_form_that_another_model_has():
    of = fleet(node("a", 8 * GIB))
    either = (Variant("m0:1", 7 * GIB), Variant("m3:1", 3 * GIB))
    shy = model("m0:1", ["a"], priority=1, context=8192, context_via=ContextVia.REQUEST, variants=either, when=When(7 * GIB))
    want = desired(shy, model("m3:1", ["a"], 3 * GIB), model("m1:1", ["a"], 2 * GIB, priority=2))
    here = world(of, want, sizes={"m0:1": 7, "m1:1": 2, "m3:1": 3})
    assert here.plan().placed.keys() == {"model.m1:1@a/ollama", "model.m3:1@a/ollama"}
    assert stands(here)
    assert settles(here) == []
