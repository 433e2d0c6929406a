"""What a plan says of its cost: seconds without a model, bytes to download, residents evicted."""

from __future__ import annotations

from dataclasses import replace

from fleets import GIB, applied, desired, facts, fleet, loaded, model, node, owned, plan

from reconciler.fleet import EngineKind, LoadKey

TWO = fleet(node("a", 8 * GIB), node("b", 8 * GIB))
TOOK = {LoadKey(EngineKind.OLLAMA, name, context): seconds for name, context, seconds in (("m:1", None, 4.5), ("m:1-c8192", 8192, 6.0))}


def test_a_reload_takes_its_model_away_for_as_long_as_its_load_took_before():
    want = desired(model("m:1", ["a"], 5 * GIB))
    seen = facts(TWO, {"a": [loaded("m:1", 5 * GIB, fraction=0.5)]}, ["m:1"])
    for took, away in ((TOOK, 4.5), ({}, None)):
        result = plan(TWO, want, seen, replace(applied(owned("m:1", "a")), load_seconds=took))
        assert [step.action for step in result.steps] == ["reload"]
        assert result.impact.downtime_seconds == {"m:1": away}


def test_a_move_with_room_for_both_takes_nothing_away():
    seen = facts(TWO, {"a": [loaded("m:1", 5 * GIB)]}, ["m:1"])
    result = plan(TWO, desired(model("m:1", ["b"], 5 * GIB)), seen, replace(applied(owned("m:1", "a")), load_seconds=TOOK))
    assert (len(result.steps), result.impact.downtime_seconds) == (2, {})


def test_models_that_change_places_on_full_cards_are_away_until_they_are_loaded():
    seen = facts(TWO, {"a": [loaded("m:1", 5 * GIB)], "b": [loaded("n:1", 5 * GIB)]}, ["m:1", "n:1"])
    want = desired(model("m:1", ["b"], 5 * GIB), model("n:1", ["a"], 5 * GIB))
    result = plan(TWO, want, seen, replace(applied(owned("m:1", "a"), owned("n:1", "b")), load_seconds=TOOK))
    assert result.impact.downtime_seconds == {"m:1": 4.5, "n:1": None}


def test_a_download_is_as_large_as_another_engine_lists_it_and_unknown_where_none_does():
    seen = facts(TWO, {}, ["m:1"], sizes={"m:1": 3 * GIB})
    without = replace(seen.nodes["b"].engines["ollama"], installed=())
    seen = replace(seen, nodes={**seen.nodes, "b": replace(seen.nodes["b"], engines={"ollama": without})})
    assert plan(TWO, desired(model("m:1", ["b"], 5 * GIB)), seen).impact.download_bytes == 3 * GIB
    assert plan(TWO, desired(model("m:1", ["a"], 5 * GIB)), seen).impact.download_bytes == 0
    assert plan(TWO, desired(model("n:1", ["b"], 5 * GIB)), seen).impact.download_bytes is None
    assert plan(TWO, desired(model("m:1", ["b"], GIB), model("n:1", ["b"], GIB)), seen).impact.download_bytes is None
