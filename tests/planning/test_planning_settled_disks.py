"""What is to be on no disk, where its weights run or serve a model that is wanted: nothing that is used is deleted, and the plan after a
complete apply deletes nothing more."""

from __future__ import annotations

from fleets import GIB, actions, desired, fleet, loaded, model, node, owned
from small_worlds import settles, stands, world

from reconciler.fleet import Ensure, Guards, Policy, Variant

MAY_DELETE = Policy(guards=Guards(max_delete=9))


def absent(name: str):
    return model(name, ["a"], ensure=Ensure.ABSENT)


def test_a_name_of_a_runner_that_is_loaded_anew_under_another_name_is_deleted_after_that():
    of = fleet(node("a", 8 * GIB))
    want = desired(absent("m4:1"), model("m5:1", ["a"], 2 * GIB), policy=MAY_DELETE)
    here = world(of, want, {"a": [loaded("m4:1", 2 * GIB, fraction=0.5)]}, sizes={"m4:1": 2, "m5:1": 2})
    steps = here.plan().steps
    assert [step.id for step in steps] == ["reload:model.m5:1@a/ollama", "remove:model.m4:1@a/ollama"]
    assert steps[1].needs == (steps[0].id,)
    assert stands(here)
    assert settles(here) == []


def test_a_name_that_is_the_form_of_a_wanted_model_stays_on_the_disk():
    of = fleet(node("a", 8 * GIB))
    want = desired(absent("m0:1"), model("m1:1", ["a"], variants=(Variant("m1:1", 20 * GIB), Variant("m0:1", 2 * GIB))), policy=MAY_DELETE)
    here = world(of, want, sizes={"m0:1": 2})
    result = here.plan()
    assert actions(result) == ["load model.m1:1@a/ollama"]
    assert [note.address for note in result.notes if note.code == "in_use"] == ["model.m0:1@a/ollama"]
    assert stands(here)
    assert settles(here) == []


def test_the_weights_of_another_model_that_one_was_served_by_are_not_deleted_with_it():
    of = fleet(node("a", 8 * GIB))
    here = world(of, desired(absent("m0:1"), policy=MAY_DELETE), rows=[owned("m0:1", "a", engine_name="m3:1")])
    assert [step.engine_name for step in here.plan().steps] == ["m0:1"]
    assert settles(here) == []


def test_a_tag_that_gpurec_made_goes_with_its_model_though_the_state_has_forgotten_its_replica():
    of = fleet(node("a", 8 * GIB))
    first = world(of, desired(model("m0:1", ["a"], 2 * GIB, context=8192)), sizes={"m0:1": 2})
    assert settles(first) == []


def test_a_name_is_deleted_only_after_its_runner_left_that_shows_another_name_of_its_weights():
    of = fleet(node("a", 8 * GIB))
    want = desired(absent("m5:1"), policy=MAY_DELETE)
    here = world(of, want, {"a": [loaded("m4:1", 1 * GIB)]}, [owned("m5:1", "a")])
    steps = here.plan().steps
    assert [step.id for step in steps] == ["unload:model.m5:1@a/ollama", "remove:model.m5:1@a/ollama"]
    assert steps[1].needs == (steps[0].id,)
    assert settles(here) == []
