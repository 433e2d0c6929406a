"""Steps that make room come before those that need it: on cards by bytes, on engines that take only so many models by count."""

from __future__ import annotations

from dataclasses import replace

from fleets import GIB, actions, applied, desired, facts, fleet, loaded, model, node, owned, plan

from reconciler.fleet import Each, EngineKind, FleetFacts

ROUTERS = fleet(node("a", 24 * GIB, kind=EngineKind.LLAMACPP), node("b", 24 * GIB, kind=EngineKind.LLAMACPP))


def at_most_one(seen: FleetFacts) -> FleetFacts:
    """The same fleet, whose engines take one model each."""
    nodes = {
        name: replace(one, engines={key: replace(engine, max_residents=1) for key, engine in one.engines.items()})
        for name, one in seen.nodes.items()
    }
    return FleetFacts(seen.at, nodes)


def router(residents, names=("m", "k")):
    return at_most_one(facts(ROUTERS, residents, list(names)))


def ours(name, on):
    return owned(name, on, kind=EngineKind.LLAMACPP)


def test_a_load_waits_for_the_reload_that_shrinks_what_is_in_its_way():
    card = fleet(node("a", 12 * GIB))
    seen = facts(card, {"a": [loaded("m:1", 8 * GIB, context=32768)]}, ["m:1", "k:1"])
    want = desired(model("m:1", ["a"], 2 * GIB, context=4096, context_via="request"), model("k:1", ["a"], 8 * GIB))
    result = plan(card, want, seen, applied(owned("m:1", "a")))
    assert actions(result) == ["reload model.m:1@a/ollama", "load model.k:1@a/ollama"]
    assert result.steps[1].needs == (result.steps[0].id,)
    assert result.gpus[0].peak_bytes <= result.gpus[0].usable_bytes


def test_a_full_engine_unloads_what_matters_less_before_it_loads_another():
    want = desired(model("m", ["a"], 2 * GIB), model("k", ["a"], 2 * GIB, priority=5))
    result = plan(ROUTERS, want, router({"a": [loaded("m", 2 * GIB)]}), applied(ours("m", "a")))
    assert actions(result) == ["unload model.m@a/llamacpp", "load model.k@a/llamacpp"]
    assert result.steps[1].needs == (result.steps[0].id,)
    assert [entry.model for entry in result.unplaced] == ["m"]


def test_a_model_replaced_on_a_full_engine_leaves_first():
    result = plan(ROUTERS, desired(model("k", ["a"], 2 * GIB)), router({"a": [loaded("m", 2 * GIB)]}), applied(ours("m", "a")))
    assert actions(result) == ["unload model.m@a/llamacpp", "load model.k@a/llamacpp"]
    assert result.steps[1].needs == (result.steps[0].id,)


def test_on_a_full_engine_a_model_moves_before_the_next_one_comes():
    want = desired(model("m", ["b"], 2 * GIB), model("k", ["a"], 2 * GIB))
    result = plan(ROUTERS, want, router({"a": [loaded("m", 2 * GIB)]}), applied(ours("m", "a")))
    assert actions(result) == ["load model.m@b/llamacpp", "unload model.m@a/llamacpp", "load model.k@a/llamacpp"]
    assert [step.needs for step in result.steps[1:]] == [(result.steps[0].id,), (result.steps[1].id,)]


def test_fewer_replicas_keep_the_one_that_can_be_seen():
    two = fleet(node("a", 8 * GIB), node("b", 8 * GIB))
    before = applied(owned("m:1", "a"), owned("m:1", "b"))
    seen = facts(two, {"a": [loaded("m:1", 5 * GIB)]}, ["m:1"], down=["b"])
    result = plan(two, desired(model("m:1", ["a", "b"], 5 * GIB)), seen, before)
    assert (actions(result), result.forgotten) == ([], ())


def test_a_model_of_each_node_stays_while_its_new_node_cannot_be_seen():
    two = fleet(node("a", 8 * GIB), node("b", 8 * GIB))
    seen = facts(two, {"a": [loaded("m:1", 5 * GIB)]}, ["m:1"], down=["b"])
    result = plan(two, desired(model("m:1", ["b"], 5 * GIB, each=Each.NODE)), seen, applied(owned("m:1", "a")))
    assert actions(result) == []
    assert "model.m:1@a/ollama" in result.placed


def test_what_serves_no_card_of_its_own_gives_its_room_in_the_same_plan():
    of = fleet(node("a", 8 * GIB, 4 * GIB))
    seen = facts(of, {"a": [loaded("m:1", 5 * GIB)]}, ["m:1", "k:1"])
    want = desired(model("m:1", ["a"], 5 * GIB, each=Each.GPU), model("k:1", ["a"], 6 * GIB))
    result = plan(of, want, seen, applied(owned("m:1", "a")))
    assert actions(result) == ["unload model.m:1@a/ollama", "load model.k:1@a/ollama"]


def test_an_engine_with_a_memory_limit_unloads_before_it_loads_though_its_card_has_room():
    of = fleet(node("a", 24 * GIB, memory_limit=8 * GIB))
    seen = facts(of, {"a": [loaded("m:1", 5 * GIB)]}, ["m:1", "k:1"])
    result = plan(of, desired(model("k:1", ["a"], 6 * GIB)), seen, applied(owned("m:1", "a")))
    assert actions(result) == ["unload model.m:1@a/ollama", "load model.k:1@a/ollama"]
    assert result.steps[1].needs == (result.steps[0].id,)
