"""A load of which the engine itself would put a part on the CPU goes elsewhere, waits for room, or has no place and says why."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction

import pytest
from fleets import GIB, actions, applied, desired, facts, fleet, loaded, model, node, owned, plan
from hypothesis import given, settings
from hypothesis import strategies as st
from pretend import some_order
from test_planning_engine_order import servers, with_files
from test_planning_properties import ROUNDS

from reconciler.admission import CardSeen, EngineResident, ModelToLoad, Rules, admit
from reconciler.fleet import Fleet, Limits, Residency
from reconciler.planning import Action, Plan


def telling(of: Fleet, name: str = "a", mebibytes: int = 2048, **more: str) -> Fleet:
    """The fleet, whose inventory says what llama-server leaves free on this node's cards."""
    spec = of.nodes[name]
    env = {"LLAMA_ARG_FIT_TARGET": str(mebibytes), **more}
    return fleet(
        *(replace(one, engines=tuple(replace(e, env=env) for e in one.engines)) if one is spec else one for one in of.nodes.values())
    )


ONE = telling(fleet(node("a", 10 * GIB)))


def codes(result: Plan) -> list[str]:
    return [note.code for note in result.notes]


def test_a_model_that_would_spill_goes_where_it_does_not():
    of = telling(fleet(node("a", 10 * GIB), node("b", 10 * GIB)))
    want = desired(model("m:1", ["a", "b"], 8 * GIB + 1))
    result = plan(of, want, facts(of, {}, ["m:1"]), applied(owned("m:1", "a")))
    assert actions(result) == ["load model.m:1@b/ollama"]


def test_a_model_that_just_leaves_the_margin_is_loaded():
    assert actions(plan(ONE, desired(model("m:1", ["a"], 8 * GIB)), facts(ONE, {}, ["m:1"]))) == ["load model.m:1@a/ollama"]


def test_a_model_that_would_spill_has_no_place_and_names_the_lines_that_help():
    (lacking,) = plan(ONE, desired(model("m:1", ["a"], 8 * GIB + 2**29)), facts(ONE, {}, ["m:1"])).unplaced
    (candidate,) = lacking.candidates
    assert candidate.reason == "engine_would_evict"
    said = "it leaves 2048 MiB of a card free (LLAMA_ARG_FIT_TARGET), and 10.0 GiB are free for the 8704 MiB that it needs"
    assert candidate.message == f"would put a part of it on the CPU: {said}"
    assert lacking.would_fit_if == (
        "a/ollama leaves less of its card free: LLAMA_ARG_FIT_TARGET=1536 for its process, and `env: {LLAMA_ARG_FIT_TARGET: 1536}` of that "
        "engine in the inventory says so",
        "a part of it may be computed by the CPU: `min_gpu_fraction: 0.9` under models.m:1",
    )


@pytest.mark.parametrize(
    "allowed", [{"min_gpu_fraction": 0.9}, {"residency": Residency.GPU_PREFERRED, "min_gpu_fraction": 0.0}, {"options": {"num_gpu": 99}}]
)
def test_where_a_part_on_the_cpu_is_allowed_or_layers_are_counted_out_it_is_loaded(allowed):
    want = desired(model("m:1", ["a"], 8 * GIB + 1, **allowed))
    assert actions(plan(ONE, want, facts(ONE, {}, ["m:1"]))) == ["load model.m:1@a/ollama"]


def test_what_is_resident_already_stays_though_it_would_spill_today():
    want = desired(model("m:1", ["a"], 8 * GIB + 1))
    result = plan(ONE, want, facts(ONE, {"a": [loaded("m:1", 8 * GIB + 1)]}, ["m:1"]), applied(owned("m:1", "a")))
    assert (actions(result), result.unplaced) == ([], ())


def test_a_load_that_would_spill_beside_one_that_leaves_waits_for_it_though_the_card_had_room():
    want = desired(model("k:1", ["a"], 6 * GIB))
    seen = facts(ONE, {"a": [loaded("m:1", 4 * GIB)]}, ["m:1", "k:1"])
    result = plan(ONE, want, seen, applied(owned("m:1", "a")))
    assert actions(result) == ["unload model.m:1@a/ollama", "load model.k:1@a/ollama"]
    assert result.steps[1].needs == (result.steps[0].id,)


def test_a_model_that_matters_less_leaves_for_one_that_would_spill_beside_it():
    want = desired(model("m:1", ["a"], 4 * GIB), model("k:1", ["a"], 6 * GIB, priority=1))
    seen = facts(ONE, {"a": [loaded("m:1", 4 * GIB)]}, ["m:1", "k:1"])
    result = plan(ONE, want, seen, applied(owned("m:1", "a")))
    assert actions(result) == ["unload model.m:1@a/ollama", "load model.k:1@a/ollama"]


def test_of_several_cards_one_that_keeps_its_margin_is_enough():
    of = telling(fleet(node("a", 12 * GIB, 10 * GIB)))
    (step,) = plan(of, desired(model("m:1", ["a"], 9 * GIB)), facts(of, {}, ["m:1"])).steps
    assert step.gpu_candidates == (0,)


def test_a_margin_that_nobody_told_refuses_nothing_and_is_warned_of():
    of = fleet(node("a", 10 * GIB, limits=Limits(max_vram_utilization=Fraction(1))))
    want = desired(model("m:1", ["a"], 9 * GIB + 2**29))
    result = plan(of, want, facts(of, {}, ["m:1"]))
    assert actions(result) == ["load model.m:1@a/ollama"]
    (note,) = result.notes
    assert (note.address, note.code) == ("engine.a/ollama", "may_spill")
    assert note.message.startswith("512 MiB of its card stay free; by default it leaves 1024 MiB")
    assert codes(plan(of, desired(model("m:1", ["a"], 9 * GIB)), facts(of, {}, ["m:1"]))) == []


def test_a_load_on_engines_whose_own_rules_are_not_known_is_warned_of_once_for_all_of_them():
    of = fleet(node("a", 10 * GIB), node("b", 10 * GIB))
    want = desired(model("m:1", ["a", "b"], GIB, replicas=2))
    result = plan(of, want, with_files(facts(of, {}, ["m:1"]), {}, build="0.5.7"))
    (note,) = result.notes
    assert (note.address, note.code) == ("engine.a/ollama", "own_rules_unknown")
    assert note.message.startswith("Ollama 0.5.7 and 1 more: its own rules about loads are not known")
    assert codes(plan(of, want, facts(of, {}, ["m:1"]))) == []


def test_an_engine_of_unknown_rules_that_gets_no_load_is_not_warned_of():
    of = fleet(node("a", 10 * GIB))
    seen = with_files(facts(of, {"a": [loaded("m:1", GIB)]}, ["m:1"]), {}, build="0.5.7")
    assert codes(plan(of, desired(model("m:1", ["a"], GIB)), seen, applied(owned("m:1", "a")))) == []


@settings(parent=ROUNDS, max_examples=100)
@given(servers(), st.integers(0, 2**32), st.sampled_from([1024, 2048, 3072]))
def test_no_part_of_a_load_ends_up_on_the_cpu_whatever_order_the_needs_of_a_plan_allow(situation, seed, margin):
    of, want, seen, before, blobs, _ = situation
    for name in of.nodes:
        of = telling(of, name, margin)
    rules = Rules(True, None, memory=True, fit_margin=margin * 2**20)
    held = {name: {one.blob: one.vram_bytes for one in at.engines["ollama"].residents or ()} for name, at in seen.nodes.items()}
    for step in some_order(plan(of, want, seen, before), seed):
        there, blob = held[step.node], blobs[step.engine_name]
        if step.action in (Action.UNLOAD, Action.RELOAD):
            there.pop(blob, None)
        if step.action in (Action.LOAD, Action.RELOAD) and blob not in there:
            seats = [EngineResident(name or "", ((0, size or 0),), math.inf, name or "") for name, size in there.items()]
            card = CardSeen(0, of.nodes[step.node].gpus[0].vram)
            assert admit(ModelToLoad(1, 0, 4096, need=step.vram_bytes), seats, [card], rules).spills is False, step.id
            there[blob] = step.vram_bytes
