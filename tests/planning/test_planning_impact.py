"""What a plan says of its cost: seconds without a model, bytes to download, residents evicted."""

from __future__ import annotations

from dataclasses import replace

from fleets import GIB, applied, desired, facts, fleet, loaded, model, node, owned, plan

from reconciler.fleet import EngineKind, LoadKey
from reconciler.planning import Move
from reconciler.views.sections import impact_lines
from reconciler.views.style import Style

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


def test_what_is_displaced_for_good_is_told_with_whom_it_leaves_for_and_as_away():
    one = fleet(node("a", 8 * GIB))
    want = desired(model("chat:1", ["a"], 5 * GIB), model("coder:1", ["a"], 6 * GIB, priority=9))
    seen = facts(one, {"a": [loaded("chat:1", 5 * GIB)]}, ["chat:1", "coder:1"])
    result = plan(one, want, seen, applied(owned("chat:1", "a")))
    chat = "model.chat:1@a/ollama"
    assert [(step.action, step.reason.message) for step in result.steps if step.address == chat] == [("unload", "makes room for coder:1")]
    assert result.impact.evictions == (chat,)
    assert result.impact.downtime_seconds == {"chat:1": None}
    assert result.impact.moves == (Move("chat:1", chat, None, "coder:1", f"unload:{chat}"),)
    assert [card.free_after_bytes for card in result.gpus] == [int(8 * GIB * 0.9) - 6 * GIB]
    lines = "\n".join(impact_lines(result.impact, Style(False, 120)))
    assert lines == f"Impact\n  evicts {chat}  for coder:1, until there is room for it again"


def test_what_is_displaced_and_has_another_place_is_a_move_for_its_displacer():
    seen = facts(TWO, {"a": [loaded("m:1", 3 * GIB)]}, ["m:1", "n:1"])
    want = desired(model("m:1", ["a", "b"], 3 * GIB), model("n:1", ["a"], 6 * GIB, priority=9))
    result = plan(TWO, want, seen, replace(applied(owned("m:1", "a")), load_seconds=TOOK))
    assert result.impact.moves == (Move("m:1", "model.m:1@a/ollama", "model.m:1@b/ollama", "n:1", "unload:model.m:1@a/ollama"),)
    assert result.impact.evictions == ("model.m:1@a/ollama",)


def test_a_model_that_its_files_want_elsewhere_moves_and_one_that_they_dropped_does_not():
    seen = facts(TWO, {"a": [loaded("m:1", 5 * GIB)]}, ["m:1"])
    moved = plan(TWO, desired(model("m:1", ["b"], 5 * GIB)), seen, applied(owned("m:1", "a")))
    assert moved.impact.moves == (Move("m:1", "model.m:1@a/ollama", "model.m:1@b/ollama", None, "unload:model.m:1@a/ollama"),)
    assert moved.impact.evictions == ()
    gone = plan(TWO, desired(), seen, applied(owned("m:1", "a")))
    assert (gone.impact.moves, gone.impact.downtime_seconds) == ((), {})


def test_a_derived_tag_is_made_by_a_step_of_its_own_and_counts_no_download():
    want = desired(model("m:1", ["a"], 5 * GIB, context=8192))
    there = plan(TWO, want, facts(TWO, {}, ["m:1"], sizes={"m:1": 3 * GIB}))
    assert [(step.action, step.engine_name) for step in there.steps] == [("tag", "m:1-c8192"), ("load", "m:1-c8192")]
    assert there.impact.download_bytes == 0
    absent = plan(TWO, want, facts(TWO))
    assert [(step.action, step.engine_name, step.needs) for step in absent.steps] == [
        ("pull", "m:1", ()),
        ("tag", "m:1-c8192", ("pull:model.m:1@a/ollama",)),
        ("load", "m:1-c8192", ("tag:model.m:1@a/ollama",)),
    ]
    assert absent.impact.download_bytes is None
