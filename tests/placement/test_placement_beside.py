"""Engines that share a card: who leaves for something more important is the least of the card, whatever engine holds it."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "planning"))
from planning.fleets import GIB, actions, desired, facts, fleet, loaded, model, node, plan

from reconciler.fleet import EngineFacts, EngineId, EngineKind, EngineSpec, Installed, Policy, Unmanaged

OLLAMA, LLAMACPP = EngineKind.OLLAMA, EngineKind.LLAMACPP


def world(cards, residents, more=(), installed=(), mode="router"):
    """A node `a` with an Ollama over all of its cards and a llama.cpp the same, and other nodes with an Ollama."""
    a = node("a", *cards)
    at = EngineId("a", "llamacpp")
    of = fleet(replace(a, engines=(*a.engines, EngineSpec(at, LLAMACPP, "http://a:2"))), *more)
    seen = facts(fleet(a, *more), {"a": residents.get("ollama", ())}, installed)
    llamacpp = EngineFacts(
        at,
        LLAMACPP,
        True,
        mode=mode,
        installed=tuple(Installed(name) for name in installed),
        residents=tuple(residents.get("llamacpp", ())),
    )
    engines = {**seen.nodes["a"].engines, "llamacpp": llamacpp}
    return of, replace(seen, nodes={**seen.nodes, "a": replace(seen.nodes["a"], engines=engines)})


def moves(of):
    return [one for one in actions(of) if not one.startswith("adopt")]


GEMMA = model("gemma:1", ["a"], 6 * GIB, engine=OLLAMA)
CHAT = model("chat", ["a"], 6 * GIB, engine=LLAMACPP, priority=999)
BOTH = {"ollama": [loaded("gemma:1", 6 * GIB)], "llamacpp": [loaded("chat", 6 * GIB)]}


@pytest.mark.parametrize("engine", [OLLAMA, LLAMACPP, None])
def test_the_least_important_of_the_card_leaves_whatever_engine_holds_it(engine):
    of, seen = world([15 * GIB], BOTH, installed=["gemma:1", "chat", "coder"])
    result = plan(of, desired(GEMMA, CHAT, model("coder", ["a"], 6 * GIB, engine=engine, priority=1000)), seen)
    unload, load = (step for step in moves(result) if not step.startswith("pull"))
    assert unload == "unload model.gemma:1@a/ollama"
    assert load.startswith("load model.coder@a/")
    assert "makes room for coder" in next(step.reason.message for step in result.steps if step.action == "unload")


def test_what_only_stands_on_several_engines_of_the_card_leaves_together():
    of, seen = world([15 * GIB], BOTH, installed=["gemma:1", "chat", "coder"])
    result = plan(of, desired(GEMMA, CHAT, model("coder", ["a"], 12 * GIB, engine=LLAMACPP, priority=1000)), seen)
    assert sorted(moves(result)) == ["load model.coder@a/llamacpp", "unload model.chat@a/llamacpp", "unload model.gemma:1@a/ollama"]


def test_one_of_another_engine_never_leaves_for_its_own_priority_or_a_lower_one():
    of, seen = world([15 * GIB], BOTH, installed=["gemma:1", "chat", "coder"])
    result = plan(of, desired(GEMMA, CHAT, model("coder", ["a"], 6 * GIB, engine=LLAMACPP, priority=0)), seen)
    assert moves(result) == []


def test_what_sits_on_another_card_of_the_node_stays():
    of, seen = world([8 * GIB, 8 * GIB], BOTH, installed=["gemma:1", "chat", "coder:1"])
    ollama, llamacpp = of.nodes["a"].engines
    apart = replace(of.nodes["a"], engines=(replace(ollama, gpus=(0,)), replace(llamacpp, gpus=(1,))))
    want = desired(replace(GEMMA, priority=1), replace(CHAT, priority=0), model("coder:1", ["a"], 6 * GIB, engine=OLLAMA, priority=9))
    result = plan(replace(of, nodes={"a": apart}), want, seen)
    assert moves(result) == ["unload model.gemma:1@a/ollama", "load model.coder:1@a/ollama"]


@pytest.mark.parametrize(("spared", "steps"), [({}, 2), ({"protect": True}, 0)])
def test_a_protected_one_of_another_engine_stays(spared, steps):
    of, seen = world([8 * GIB], {"ollama": [loaded("gemma:1", 6 * GIB)]}, installed=["gemma:1", "coder"])
    want = desired(replace(GEMMA, **spared), model("coder", ["a"], 6 * GIB, engine=LLAMACPP, priority=1))
    assert len(moves(plan(of, want, seen))) == steps


def test_what_a_server_was_started_with_never_leaves_for_a_model_of_another_engine():
    of, seen = world([8 * GIB], {"llamacpp": [loaded("chat", 6 * GIB)]}, installed=["chat", "coder:1"], mode="single")
    want = desired(replace(CHAT, priority=0), model("coder:1", ["a"], 6 * GIB, engine=OLLAMA, priority=9))
    assert moves(plan(of, want, seen)) == []


def test_a_stranger_that_yields_leaves_for_a_model_of_another_engine():
    guest = loaded("guest:1", 6 * GIB, pinned=False)
    of, seen = world([8 * GIB], {"ollama": [guest]}, installed=["guest:1", "coder"])
    want = desired(model("coder", ["a"], 6 * GIB, engine=LLAMACPP), policy=Policy(unmanaged=Unmanaged.YIELD))
    assert [step.action.value for step in plan(of, want, seen).steps] == ["unload", "load"]


def test_one_of_the_same_priority_on_another_engine_of_the_card_moves_where_it_also_fits():
    of, seen = world([8 * GIB], {"ollama": [loaded("gemma:1", 6 * GIB)]}, [node("b", 8 * GIB)], installed=["gemma:1", "coder"])
    want = desired(replace(GEMMA, nodes=("a", "b")), model("coder", ["a"], 6 * GIB, engine=LLAMACPP))
    steps = moves(plan(of, want, seen))
    assert sorted(steps) == ["load model.coder@a/llamacpp", "load model.gemma:1@b/ollama", "unload model.gemma:1@a/ollama"]


def test_of_several_victims_the_more_important_stays_where_the_less_important_is_enough():
    there = [loaded(name, size * GIB) for name, size in (("p0:1", 3), ("p5:1", 3), ("p9:1", 5))]
    of = fleet(node("a", 13 * GIB))
    names = [f"{one.name}" for one in there] + ["top:1"]
    want = desired(
        model("p0:1", ["a"], 3 * GIB),
        model("p5:1", ["a"], 3 * GIB, priority=5),
        model("p9:1", ["a"], 5 * GIB, priority=9),
        model("top:1", ["a"], 8 * GIB, priority=10),
    )
    steps = moves(plan(of, want, facts(of, {"a": there}, names)))
    assert sorted(one for one in steps if one.startswith("unload")) == ["unload model.p0:1@a/ollama", "unload model.p9:1@a/ollama"]


def test_where_the_most_important_loss_is_the_least_is_the_place_taken_however_many_leave():
    small = [loaded(f"s{number}:1", 4 * GIB) for number in range(2)]
    of = fleet(node("a", 9 * GIB), node("b", 9 * GIB))
    want = desired(
        *(model(one.name, ["a"], 4 * GIB) for one in small),
        model("mid:1", ["b"], 8 * GIB, priority=1),
        model("top:1", ["a", "b"], 8 * GIB, priority=9),
    )
    seen = facts(of, {"a": small, "b": [loaded("mid:1", 8 * GIB)]}, [*(one.name for one in small), "mid:1", "top:1"])
    assert "load model.top:1@a/ollama" in moves(plan(of, want, seen))
