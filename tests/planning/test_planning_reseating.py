"""What an engine takes in another order only is loaded in that order, at the price of a moment without what is there already."""

from __future__ import annotations

from dataclasses import replace

from fleets import GIB, actions, applied, desired, facts, fleet, loaded, model, node, owned, plan
from test_planning_engine_order import with_files

from reconciler.fleet import EngineKind, LoadKey

ONE = fleet(node("a", 10 * GIB))
TWO = fleet(node("a", 10 * GIB), node("b", 10 * GIB))
SIZES = {"big:1": 7 * GIB, "small:1": 2 * GIB}


def seen(of=ONE, **residents):
    return with_files(facts(of, residents or {"a": [loaded("small:1", 2 * GIB)]}, list(SIZES)), SIZES)


def wanted(**fields):
    return desired(model("big:1", ["a"], 7 * GIB), model("small:1", ["a"], 2 * GIB, **fields))


def test_a_small_model_leaves_and_comes_back_after_a_large_one_that_is_taken_only_before_it():
    result = plan(ONE, wanted(), seen(), applied(owned("small:1", "a")))
    assert actions(result) == ["unload model.small:1@a/ollama", "load model.big:1@a/ollama", "load model.small:1@a/ollama"]
    assert [step.needs for step in result.steps] == [(), (result.steps[0].id,), (result.steps[1].id, result.steps[0].id)]


def test_the_moment_without_it_is_shown():
    took = {LoadKey(EngineKind.OLLAMA, "big:1", None): 20.0, LoadKey(EngineKind.OLLAMA, "small:1", None): 3.0}
    before = replace(applied(owned("small:1", "a")), load_seconds=took)
    assert plan(ONE, wanted(), seen(), before).impact.downtime_seconds == {"small:1": 23.0}


def test_another_place_comes_before_another_order():
    want = desired(model("big:1", ["a", "b"], 7 * GIB), model("small:1", ["a"], 2 * GIB))
    result = plan(TWO, want, seen(TWO, a=[loaded("small:1", 2 * GIB)]), applied(owned("small:1", "a")))
    assert actions(result) == ["load model.big:1@b/ollama"]


def test_what_matters_more_or_is_protected_is_not_sent_away_for_an_order():
    for fields in ({"priority": 1}, {"protect": True}):
        result = plan(ONE, wanted(**fields), seen(), applied(owned("small:1", "a", protect=bool(fields.get("protect")))))
        assert actions(result) == []
        assert result.unplaced[0].candidates[0].reason == "engine_would_evict"


def test_a_reload_that_is_taken_only_before_another_is_made_in_that_order():
    want = desired(model("big:1", ["a"], 7 * GIB, context=8192), model("small:1", ["a"], 2 * GIB))
    there = with_files(
        facts(
            ONE,
            {"a": [loaded("big:1-c8192", 5 * GIB, context=4096), loaded("small:1", 2 * GIB)]},
            ["big:1", "big:1-c8192", "small:1"],
        ),
        {**SIZES, "big:1-c8192": 7 * GIB},
    )
    before = applied(owned("big:1", "a", engine_name="big:1-c8192", context=8192), owned("small:1", "a"))
    result = plan(ONE, want, there, before)
    assert actions(result) == ["unload model.small:1@a/ollama", "reload model.big:1@a/ollama", "load model.small:1@a/ollama"]


def test_nobody_is_sent_away_where_not_all_would_come_back():
    sizes = {"big:1": 8 * GIB, "small:1": 2 * GIB}
    there = with_files(facts(ONE, {"a": [loaded("small:1", 2 * GIB)]}, list(sizes)), sizes)
    result = plan(ONE, desired(model("big:1", ["a"], 8 * GIB), model("small:1", ["a"], 2 * GIB)), there, applied(owned("small:1", "a")))
    assert actions(result) == []


def test_an_order_is_no_way_out_where_less_is_declared_than_is_held():
    # Whichever is loaded would leave too little for the other, so each apply would only change who is there.
    for declared, held in ((4 * GIB, 5 * GIB), (5 * GIB // 2, 5 * GIB)):
        sizes = {"one:1": 4 * GIB + 1, "two:1": 4 * GIB + 1}
        there = with_files(facts(ONE, {"a": [loaded("one:1", held)]}, list(sizes)), sizes)
        want = desired(model("one:1", ["a"], declared), model("two:1", ["a"], declared))
        result = plan(ONE, want, there, applied(owned("one:1", "a")))
        assert actions(result) == []
        assert result.unplaced[0].candidates[0].reason == "engine_would_evict"


def test_a_model_under_another_name_comes_before_the_old_one_leaves_only_where_the_engine_takes_both():
    def steps(size):
        want = desired(model("m", ["a"], size, names={EngineKind.OLLAMA: "new:1"}))
        there = with_files(facts(ONE, {"a": [loaded("old:1", 4 * GIB)]}, ["old:1", "new:1"]), {"old:1": 4 * GIB, "new:1": size})
        result = plan(ONE, want, there, applied(owned("m", "a", engine_name="old:1")))
        return [step.action.value for step in result.steps], dict(result.impact.downtime_seconds)

    assert steps(3 * GIB) == (["load", "unload"], {})
    assert steps(6 * GIB) == (["unload", "load"], {"m": None})


def test_every_node_of_a_large_fleet_gets_the_order_that_it_needs():
    names = [f"n{number:03}" for number in range(400)]
    of = fleet(*(node(name, 10 * GIB) for name in names))
    there = with_files(facts(of, {name: [loaded("small:1", 2 * GIB)] for name in names}, list(SIZES)), SIZES)
    want = desired(model("big:1", names, 7 * GIB, replicas=400), model("small:1", names, 2 * GIB, replicas=400))
    result = plan(of, want, there, applied(*(owned("small:1", name) for name in names)))
    assert (len(result.steps), result.unplaced) == (1200, ())
