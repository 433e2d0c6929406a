"""The plan after a complete apply is empty, and a saved plan stands on its own facts, where `with`, `never_with`, variants and the device
that a model asks for decide together who stays."""

from __future__ import annotations

from fleets import GIB, actions, desired, fleet, loaded, model, node, owned
from properties import against_when
from small_worlds import settles, stands, without, world

from reconciler.fleet import ContextVia, Each, EngineKind, Residency, Variant, When


def test_what_may_only_be_beside_another_stays_where_that_one_stays_for_want_of_another_place() -> None:
    of = fleet(node("a", 12 * GIB))
    want = desired(model("m0:1", ["a"], 5 * GIB, engine=EngineKind.LLAMACPP), model("m1:1", ["a"], 3 * GIB, with_models=("m0:1",)))
    there = {"a": [loaded("m0:1", 5 * GIB), loaded("m1:1", 3 * GIB)]}
    here = world(of, want, there, [owned("m0:1", "a"), owned("m1:1", "a")], sizes={"m0:1": 5, "m1:1": 3})
    assert actions(here.plan()) == []
    assert stands(here)


def test_a_protected_model_takes_nothing_over_that_another_has_on_the_device_that_it_does_not_ask_for() -> None:
    of = fleet(node("a", 12 * GIB), node("b", 12 * GIB))
    forms = (Variant("m3:1", 14 * GIB), Variant("m0:1", 3 * GIB))
    want = desired(
        model("m0:1", ["a"], 3 * GIB, priority=1, residency=Residency.CPU, min_gpu_fraction=0.0, protect=True),
        model("m3:1", ["a", "b"], variants=forms),
    )
    here = world(of, want, sizes={"m0:1": 3, "m3:1": 14})
    assert actions(here.plan()) == ["load model.m3:1@a/ollama"]
    assert settles(here) == []


def test_what_another_model_would_be_as_well_stays_for_its_own_though_that_other_may_not_be_there() -> None:
    of = fleet(node("a", 8 * GIB))
    forms = (Variant("m1:1", 4 * GIB), Variant("m3:1", 9 * GIB))
    want = desired(
        model("m3:1", ["a"], 9 * GIB, priority=1, context=8192, context_via=ContextVia.REQUEST),
        model("m1:1", ["a"], variants=forms, with_models=("m0:1",)),
        model("m0:1", ["a"], 5 * GIB),
    )
    here = world(of, want, {"a": [loaded("m3:1", 9 * GIB)]}, [owned("m3:1", "a")], sizes={"m0:1": 5, "m1:1": 4, "m3:1": 9})
    assert actions(here.plan()) == []
    assert stands(here)


def test_nobody_takes_the_place_of_the_one_beside_which_alone_it_may_be() -> None:
    of = fleet(node("a", 8 * GIB))
    forms = (Variant("m1:1", 5 * GIB), Variant("m3:1", 2 * GIB))
    want = desired(
        model("m1:1", ["a"], priority=2, context=8192, variants=forms, with_models=("m0:1",)),
        model("m0:1", ["a"], 5 * GIB),
        model("m3:1", ["a"], 2 * GIB),
    )
    here = world(of, want, sizes={"m0:1": 5, "m1:1": 5, "m3:1": 2})
    plan = here.plan()
    assert sorted(plan.placed.items()) == [("model.m0:1@a/ollama", "m0:1"), ("model.m1:1@a/ollama", "m3:1-c8192")]
    assert [one.model for one in plan.unplaced] == ["m3:1"]
    assert settles(here) == []


def test_of_two_forms_that_are_there_the_one_without_a_foe_on_its_card_stays() -> None:
    of = fleet(node("a", 24 * GIB, ram=16 * GIB))
    forms = (Variant("m1:1", 4 * GIB), Variant("m2:1", 8 * GIB))
    want = desired(
        model("m0:1", ["a"], 9 * GIB, priority=1),
        model("m1:1", ["a"], residency=Residency.GPU_PREFERRED, min_gpu_fraction=0.0, variants=forms, never_with=("m0:1",)),
    )
    there = {"a": [loaded("m1:1", 4 * GIB), loaded("m2:1", 8 * GIB, fraction=0.0)]}
    here = world(of, want, there, [owned("m1:1", "a"), owned("m2:1", "a")], sizes={"m0:1": 9, "m1:1": 4, "m2:1": 8})
    assert sorted(actions(here.plan())) == [
        "adopt model.m1:1@a/ollama",
        "load model.m0:1@a/ollama",
        "unload model.m1:1@a/ollama",
    ]
    assert settles(here) == []


def test_a_client_s_resident_moves_for_one_that_is_there_and_becomes_ours() -> None:
    of = fleet(node("a", 24 * GIB), node("b", 4 * GIB))
    want = desired(
        model("m1:1", ["a", "b"], 2 * GIB, priority=1, never_with=("m3:1",)),
        model("m3:1", ["a"], 5 * GIB),
    )
    here = world(of, want, {"a": [loaded("m1:1", 2 * GIB), loaded("m3:1", 5 * GIB)]}, sizes={"m1:1": 2, "m3:1": 5})
    assert actions(here.plan()) == ["adopt model.m3:1@a/ollama", "load model.m1:1@b/ollama", "unload model.m1:1@a/ollama"]
    assert stands(here)
    assert settles(here) == []


def test_nobody_takes_over_what_is_anothers_before_all_have_kept_their_own() -> None:
    of = fleet(node("a", 12 * GIB))
    forms = (Variant("m3:1", 14 * GIB), Variant("m0:1", 3 * GIB))
    want = desired(
        model("m3:1", ["a"], priority=2, variants=forms, never_with=("m1:1",)),
        model("m1:1", ["a"], 3 * GIB, priority=2),
        model("m0:1", ["a"], 3 * GIB, priority=1),
    )
    there = {"a": [loaded("m0:1", 3 * GIB), loaded("m1:1", 3 * GIB)]}
    here = world(of, want, there, [owned("m0:1", "a"), owned("m1:1", "a")], sizes={"m0:1": 3, "m1:1": 3, "m3:1": 14})
    assert actions(here.plan()) == []


def test_what_was_to_leave_does_not_come_back_beside_what_came_since_so_much_of_the_card_was_free() -> None:
    of = fleet(node("a", 12 * GIB), node("b", 4 * GIB, kind=EngineKind.LLAMACPP))
    want = desired(
        model("m3:1", ["a", "b"], 5 * GIB, engine=EngineKind.LLAMACPP, each=Each.ENGINE),
        model("m1:1", ["a"], 4 * GIB, when=When(free_vram=8 * GIB)),
    )
    here = world(of, want, {"a": [loaded("m3:1", 5 * GIB)]}, [owned("m3:1", "a")], sizes={"m1:1": 4, "m3:1": 5})
    plan = here.plan()
    assert actions(plan) == ["unload model.m3:1@a/ollama", "load model.m1:1@a/ollama"]
    assert against_when(here, plan) == []
    assert stands(here)
    assert settles(here) == []


def test_what_comes_to_share_a_runner_under_a_tag_that_is_yet_to_be_made_is_not_missing_before() -> None:
    of = fleet(node("a", 12 * GIB), node("d", 8 * GIB))
    forms = (Variant("m2:1", 9 * GIB), Variant("m0:1", 3 * GIB))
    want = desired(
        model("m1:1", ["a"], 10 * GIB, priority=2),
        model("m0:1", ["d"], 3 * GIB, priority=1, context=8192, context_via=ContextVia.REQUEST),
        model("m2:1", ["a", "d"], each=Each.NODE, context=8192, variants=forms),
    )
    here = world(of, want, {"a": [loaded("m2:1", 9 * GIB)]}, [owned("m2:1", "a")], sizes={"m0:1": 3, "m1:1": 10, "m2:1": 9})
    here = without(here, "d", "m0:1")
    assert {"adopt model.m2:1@d/ollama", "unload model.m2:1@a/ollama"} <= set(actions(here.plan()))
    assert stands(here)
