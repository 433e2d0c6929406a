"""A vLLM holds the share of its cards that it took at its start, as far as it tells it."""

from __future__ import annotations

import sys
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "planning"))
from planning.fleets import GIB, actions, desired, facts, fleet, model, node, plan

from reconciler.admission import told_utilization
from reconciler.fleet import EngineFacts, EngineId, EngineKind, EngineSpec, Resident
from reconciler.health import find


def world(share, *cards):
    """A node with an Ollama and a vLLM on the same cards."""
    both = node("a", *(cards or (20 * GIB,)))
    at = EngineId("a", "vllm")
    both = replace(both, engines=(*both.engines, EngineSpec(at, EngineKind.VLLM, "http://a:2")))
    of = fleet(both)
    options = None if share is None else (f"gpu_memory_utilization={share}",)
    vllm = EngineFacts(at, EngineKind.VLLM, True, mode="single", residents=(Resident("llama", options=options),))
    seen = facts(of, {}, ["m:1"])
    one = replace(seen.nodes["a"], engines={"ollama": replace(seen.nodes["a"].engines["ollama"]), "vllm": vllm})
    return of, replace(seen, nodes={"a": one})


WANT = desired(model("m:1", ["a"], 8 * GIB, engine=EngineKind.OLLAMA))


def test_what_its_share_leaves_may_be_used_by_others():
    of, seen = world("0.5")
    result = plan(of, WANT, seen)
    assert actions(result) == ["load model.m:1@a/ollama"]
    assert (result.gpus[0].before_bytes, result.gpus[0].unsized) == (10 * GIB, False)


def test_without_a_told_share_its_card_is_blocked_and_called_unknown():
    of, seen = world(None)
    result = plan(of, WANT, seen)
    assert actions(result) == []
    assert result.gpus[0].unsized


def test_a_declared_need_wins_over_the_share():
    of, seen = world("0.5")
    want = desired(*WANT.models, model("llama", ["a"], 4 * GIB, engine=EngineKind.VLLM))
    assert plan(of, want, seen).gpus[0].before_bytes == 4 * GIB


def test_every_one_of_its_cards_holds_the_share():
    of, seen = world("0.25", 20 * GIB, 8 * GIB)
    assert [card.before_bytes for card in plan(of, WANT, seen).gpus] == [5 * GIB, 2 * GIB]


@pytest.mark.parametrize("said", ["", "x", "nan", "inf", "0", "-1", "1.5"])
def test_what_is_no_fraction_is_none(said):
    assert told_utilization((f"gpu_memory_utilization={said}",)) is None
    assert told_utilization(("block_size=16",)) is told_utilization(None) is None
    assert told_utilization(("gpu_memory_utilization=0.92",)) == Decimal("0.92")


def test_doctor_says_where_a_share_leaves_nothing_for_the_others_on_its_card():
    of, seen = world("0.92")
    made = plan(of, WANT, seen)
    homeless, found = find(of, WANT, seen, made)
    assert (homeless.code, homeless.address) == ("unplaced", f"model.{made.unplaced[0].model}")
    assert (found.code, found.address) == ("fraction_leaves_no_room", "engine.a/vllm")
    assert found.what == "it takes 18.4 GiB of card 0 (0.92), where 18.0 GiB may be used: nothing is left for a/ollama"
    assert "0.45 is half" in found.mend
    of, seen = world("0.5")
    assert find(of, WANT, seen, plan(of, WANT, seen)) == ()
