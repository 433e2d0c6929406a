"""Why a model has no place is asked once for all engines that are as full as each other, and answered as if each was asked."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "planning"))
from planning.fleets import GIB, applied, desired, facts, fleet, loaded, model, node, owned
from planning.wide_fleets import wide_world

from reconciler.fleet import Applied
from reconciler.placement import place, reasons, set_up
from reconciler.placement.explain import explain
from reconciler.placement.reasons import reason_at

COMPANY = {"never_with": "spread", "with": "spread"}
"""Who else is on a card is no matter of one engine: there it would fit."""


@pytest.fixture
def asked(monkeypatch):
    """The engines that were asked for room."""
    seen = []
    real = reasons.room_for
    monkeypatch.setattr(reasons, "room_for", lambda slot, *rest: seen.append(slot.id) or real(slot, *rest))
    return seen


def explained(of, want, seen, before=Applied()):  # noqa: B008
    board = set_up(of, seen, want.limits)
    placement = place(board, want, before)
    return board, placement, [(one, explain(placement, one, before, want)) for one in placement.lacking]


def test_engines_that_are_as_full_as_each_other_are_asked_once_a_model(asked):
    of = fleet(*(node(f"n{number:03}", 8 * GIB) for number in range(200)))
    names = [*of.nodes]
    models = [model(f"m{number}:1", names, 20 * GIB) for number in range(5)]
    _, _, answers = explained(of, desired(*models), facts(of))
    assert [dict(answer.counts) for _, answer in answers] == [{"too_large": 200}] * 5
    assert len(asked) == 5


def test_one_that_is_fuller_is_asked_for_itself(asked):
    of = fleet(*(node(f"n{number}", 8 * GIB) for number in range(6)))
    names = [*of.nodes]
    want = desired(model("x:1", ["n0"], 5 * GIB, priority=1), model("m:1", names, 7 * GIB, replicas=6))
    seen = facts(of, {"n0": [loaded("x:1", 5 * GIB)]}, ["x:1"])
    _, _, answers = explained(of, want, seen, applied(owned("x:1", "n0", 5 * GIB)))
    assert [dict(answer.counts) for _, answer in answers] == [{"insufficient_vram": 1}]
    assert [str(at) for at in asked] == ["n0/ollama"]


def test_the_answers_are_those_of_each_engine_by_itself():
    several = 0
    for seed in range(120):
        world = wide_world(seed)
        _, placement, answers = explained(world.fleet, world.desired, world.facts, world.applied)
        for lacking, answer in answers:
            least = lacking.model.alternatives()[-1]
            slots = lacking.asked or [slot for name in lacking.model.nodes for slot in placement.board.by_node.get(name, ())]
            slots = [slot for slot in slots if least.engine in (None, slot.kind)] or slots  # of the kind that it asks for, if there are any
            each = [reason_at(slot, least, world.applied) for slot in slots if slot not in placement.slots_of(lacking.model.name)]
            told = Counter({COMPANY.get(code, code): 0 for code in answer.counts})
            for code, count in answer.counts.items():
                told[COMPANY.get(code, code)] += count
            assert told == Counter(each), seed
            several += len(each) > 1
    assert several > 50
