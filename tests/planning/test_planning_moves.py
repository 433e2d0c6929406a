"""A model whose place changes is never without a replica longer than its cards make necessary."""

from __future__ import annotations

from fleets import GIB, actions, applied, desired, facts, fleet, loaded, model, node, owned, plan

from reconciler.planning import Cause

TWO = fleet(node("a", 8 * GIB), node("b", 8 * GIB))


def there(on, *, installed=("m:1",), also=()):
    return facts(TWO, {on: [loaded("m:1", 5 * GIB)], **dict(also)}, list(installed))


def test_a_model_that_is_wanted_on_another_node_is_loaded_there_before_it_leaves():
    result = plan(TWO, desired(model("m:1", ["b"], 5 * GIB)), there("a"), applied(owned("m:1", "a")))
    assert actions(result) == ["load model.m:1@b/ollama", "unload model.m:1@a/ollama"]
    load, unload = result.steps
    assert (load.cause, unload.reason.code, unload.needs) == (Cause.DISPLACED, "surplus", (load.id,))


def test_a_pull_that_fails_leaves_a_moving_model_where_it_is():
    seen = there("a", installed=())
    result = plan(TWO, desired(model("m:1", ["b"], 5 * GIB)), seen, applied(owned("m:1", "a")))
    pull, load, unload = result.steps
    assert (pull.action, load.needs, unload.needs) == ("pull", (pull.id,), tuple(sorted([load.id, pull.id])))


def test_two_models_that_change_places_on_full_cards_are_pulled_first_and_then_swapped():
    seen = facts(TWO, {"a": [loaded("m:1", 5 * GIB)], "b": [loaded("n:1", 5 * GIB)]})
    want = desired(model("m:1", ["b"], 5 * GIB), model("n:1", ["a"], 5 * GIB))
    result = plan(TWO, want, seen, applied(owned("m:1", "a"), owned("n:1", "b")))
    assert [step.action for step in result.steps] == ["pull", "pull", "unload", "unload", "load", "load"]
    by_id = {step.id: step for step in result.steps}
    for step in result.steps[2:4]:
        assert {by_id[need].model for need in step.needs} == {"m:1", "n:1"}
    assert result.unplaced == ()


def test_a_moving_model_without_a_place_stays_where_it_is_and_stays_ours():
    seen = there("a", also=[("b", [loaded("other:1", 7 * GIB)])])
    result = plan(TWO, desired(model("m:1", ["b"], 5 * GIB)), seen, applied(owned("m:1", "a")))
    assert (actions(result), [entry.model for entry in result.unplaced]) == ([], ["m:1"])
    assert "model.m:1@a/ollama" in result.placed


def test_a_moving_model_without_a_place_leaves_when_its_room_was_given_to_another():
    seen = there("a", installed=["m:1", "n:1"], also=[("b", [loaded("other:1", 7 * GIB)])])
    want = desired(model("m:1", ["b"], 5 * GIB), model("n:1", ["a"], 5 * GIB))
    result = plan(TWO, want, seen, applied(owned("m:1", "a")))
    assert actions(result) == ["unload model.m:1@a/ollama", "load model.n:1@a/ollama"]


def test_a_model_of_each_node_is_loaded_on_a_new_node_before_it_leaves_the_old_one():
    result = plan(TWO, desired(model("m:1", ["b"], 5 * GIB, each="node")), there("a"), applied(owned("m:1", "a")))
    assert actions(result) == ["load model.m:1@b/ollama", "unload model.m:1@a/ollama"]
    assert result.steps[1].needs == (result.steps[0].id,)


def test_what_leaves_anyway_still_waits_for_the_pull_of_the_load_that_takes_its_room():
    seen = facts(TWO, {"a": [loaded("old:1", 6 * GIB)]})
    result = plan(TWO, desired(model("new:1", ["a"], 6 * GIB)), seen, applied(owned("old:1", "a")))
    pull, unload, load = result.steps
    assert [step.action for step in result.steps] == ["pull", "unload", "load"]
    assert unload.needs == (pull.id,)
    assert unload.id in load.needs
