"""Pinned weights: other ones are told and never act by themselves, and what a lock file would hold."""

from __future__ import annotations

from dataclasses import replace

from fleets import GIB, actions, applied, desired, facts, fleet, loaded, model, node, owned, plan

from reconciler.fleet import EngineId, EngineKind, Ensure, FleetFacts
from reconciler.planning import Differing, find_pins, first_stale_step, make_plan

OLD, NEW = "sha256:" + "a" * 64, "sha256:" + "b" * 64
ON = fleet(node("a", 24 * GIB), node("b", 24 * GIB))
BOTH = ["a", "b"]


def blobs_by_node(**blobs: str) -> FleetFacts:
    """`m:1` installed on each node with these weights."""
    nodes = {}
    for name, blob in blobs.items():
        nodes[name] = facts(ON, installed=["m:1"], sizes={"m:1": GIB}, blobs={"m:1": blob}).nodes[name]
    return FleetFacts("2026-01-01T00:00:00Z", nodes)


def test_a_replica_is_not_placed_where_other_weights_are_installed():
    result = plan(ON, desired(model("m:1", BOTH, GIB, digest=NEW)), blobs_by_node(a=OLD, b=NEW))
    assert actions(result) == ["load model.m:1@b/ollama"]


def test_with_other_weights_everywhere_it_is_unplaced_with_the_reason_and_what_helps():
    result = plan(ON, desired(model("m:1", BOTH, GIB, digest=NEW)), blobs_by_node(a=OLD, b=OLD))
    assert result.steps == ()
    assert result.unplaced[0].candidate_counts == {"digest_differs": 2}
    assert "gpurec pin m:1" in result.unplaced[0].would_fit_if[0]


def test_a_resident_with_other_weights_stays_and_is_drift_of_kind_digest_and_a_note():
    there = {"a": [loaded("m:1", GIB, blob=OLD)]}
    seen = facts(ON, there, installed=["m:1"], blobs={"m:1": OLD})
    result = plan(ON, desired(model("m:1", ["a"], GIB, digest=NEW)), seen, applied(owned("m:1", "a")))
    assert result.steps == ()
    assert [(one.kind, one.address, one.applied, one.found) for one in result.drift] == [("digest", "model.m:1@a/ollama", NEW, OLD)]
    assert [note.code for note in result.notes] == ["digest_differs"]


def test_weights_that_are_pinned_or_unknown_are_neither_drift_nor_in_the_way():
    for blob in (NEW, NEW.removeprefix("sha256:"), None):
        there = {"a": [loaded("m:1", GIB, blob=blob)]}
        seen = facts(ON, there, installed=["m:1"], blobs={"m:1": blob} if blob else None)
        result = plan(ON, desired(model("m:1", ["a"], GIB, digest=NEW)), seen, applied(owned("m:1", "a")))
        assert (result.steps, result.drift, result.unplaced) == ((), (), ())


def test_on_demand_with_other_weights_on_the_disk_is_unplaced():
    result = plan(ON, desired(model("m:1", ["a"], digest=NEW, ensure=Ensure.PRESENT, keep_alive=None)), blobs_by_node(a=OLD, b=OLD))
    assert (result.steps, result.unplaced[0].candidate_counts) == ((), {"digest_differs": 1})


def test_a_derived_tag_has_the_weights_of_its_base():
    result = plan(ON, desired(model("m:1", ["a"], GIB, digest=NEW, context=8192)), blobs_by_node(a=OLD, b=OLD))
    assert (result.steps, result.unplaced[0].candidate_counts) == ((), {"digest_differs": 1})
    right = plan(ON, desired(model("m:1", ["a"], GIB, digest=OLD, context=8192)), blobs_by_node(a=OLD, b=OLD))
    assert actions(right) == ["tag model.m:1@a/ollama", "load model.m:1@a/ollama"]


def test_a_saved_load_does_not_stand_once_the_weights_moved():
    want = desired(model("m:1", ["a"], GIB, digest=OLD))
    saved = plan(ON, want, blobs_by_node(a=OLD, b=OLD))
    assert first_stale_step(saved, ON, want, blobs_by_node(a=OLD, b=OLD), applied()) is None
    moved = first_stale_step(saved, ON, want, blobs_by_node(a=NEW, b=OLD), applied())
    assert moved is not None
    assert moved.why == "other weights are installed there than its digest pins"


def test_pins_are_the_weights_on_all_engines_that_may_hold_a_model():
    want = desired(model("m:1", BOTH), model("gone:1", BOTH))
    pins = find_pins(ON, want, blobs_by_node(a=OLD, b=OLD))
    assert (pins.digests, pins.differing, pins.untold, pins.unreachable) == ({"m:1": OLD}, (), ("gone:1",), ())
    assert find_pins(ON, want, blobs_by_node(a=OLD, b=OLD), ["gone:1"]).digests == {}


def test_engines_that_differ_are_both_named_and_nothing_is_pinned():
    pins = find_pins(ON, desired(model("m:1", BOTH)), blobs_by_node(a=NEW, b=OLD))
    b, a = EngineId("b", "ollama"), EngineId("a", "ollama")
    assert (pins.digests, pins.differing) == ({}, (Differing("m:1", b, OLD, a, NEW),))


def test_an_engine_outside_the_models_nodes_and_kind_is_not_asked_and_one_that_is_down_is_told():
    assert find_pins(ON, desired(model("m:1", ["b"])), blobs_by_node(a=NEW, b=OLD)).digests == {"m:1": OLD}
    other = find_pins(ON, desired(model("m:1", BOTH, engine=EngineKind.LLAMACPP)), blobs_by_node(a=NEW, b=OLD))
    assert (other.digests, other.untold) == ({}, ("m:1",))
    seen = replace(blobs_by_node(a=NEW, b=OLD), nodes={**blobs_by_node(a=NEW, b=OLD).nodes, "a": facts(ON, down=["a"]).nodes["a"]})
    down = find_pins(ON, desired(model("m:1", BOTH)), seen)
    assert (down.digests, down.unreachable) == ({"m:1": OLD}, (EngineId("a", "ollama"),))


def test_other_weights_under_the_name_are_told_while_the_pinned_ones_run_and_not_only_until_the_next_apply():
    installed = blobs_by_node(a=NEW, b=OLD)
    node_a = installed.nodes["a"]
    engine = replace(node_a.engines["ollama"], residents=(loaded("m:1", GIB, blob=OLD),))
    seen = replace(installed, nodes={**installed.nodes, "a": replace(node_a, engines={"ollama": engine})})
    want = desired(model("m:1", ["a"], GIB, digest=OLD))
    for recorded in (None, seen):
        result = make_plan(ON, want, seen, applied(owned("m:1", "a")), config_digest="c", created_at=seen.at, recorded=recorded)
        assert [(one.kind, one.applied, one.found) for one in result.drift] == [("digest", OLD, NEW)]
        assert (result.steps, [note.code for note in result.notes]) == ((), ["digest_differs"])
