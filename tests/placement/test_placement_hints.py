"""What would help an unplaced model is tried on the board: a line that would not give it a place is not said."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "planning"))
from planning.fleets import GIB, applied, desired, facts, fleet, loaded, model, node, owned, plan

from reconciler.fleet import MIB, EngineKind

CARD = fleet(node("a", 24 * GIB))  # 90% of it is usable
BIG = model("big:1", ["a"], 16 * GIB)


def hints(of, want, seen, before=None, of_model="big:1"):
    return next(one.would_fit_if for one in plan(of, want, seen, before).unplaced if one.model == of_model)


@pytest.mark.parametrize(("keep", "guest", "lines"), [(6, 1, 0), (4, 5, 1)])
def test_a_stranger_is_named_only_where_its_leaving_makes_room(keep, guest, lines):
    seen = facts(CARD, {"a": [loaded("keep:1", keep * GIB), loaded("guest:1", guest * GIB)]}, ["big:1"])
    assert len(hints(CARD, desired(BIG, model("keep:1", ["a"], keep * GIB)), seen)) == lines


def test_a_stranger_that_makes_room_together_with_what_matters_less_is_named():
    seen = facts(CARD, {"a": [loaded("low:1", 12 * GIB), loaded("guest:1", 8 * GIB, pinned=False)]}, ["big:1", "low:1"])
    want = desired(model("big:1", ["a"], 20 * GIB, priority=1), model("low:1", ["a"], 12 * GIB))
    assert hints(CARD, want, seen) == ("1 unmanaged resident (8192 MiB) makes room: `policy: {unmanaged: yield}`",)


def test_the_size_that_is_written_for_an_unknown_need_has_room():
    of = fleet(node("a", 5 * GIB // 2))
    (line,) = hints(of, desired(model("big:1", ["a"])), facts(of))
    assert line == "the need of big:1 is declared and is at most 2304 MiB: `vram: 2304MiB` under models.big:1"
    assert plan(of, desired(model("big:1", ["a"], 2304 * MIB)), facts(of, installed=["big:1"])).unplaced == ()


def test_a_need_is_not_asked_for_where_no_card_has_room_for_anything():
    of = fleet(node("a", 10 * GIB))
    seen = facts(of, {"a": [loaded("keep:1", 9 * GIB)]}, ["keep:1"])
    assert hints(of, desired(model("keep:1", ["a"], 9 * GIB), model("big:1", ["a"])), seen) == ()


@pytest.mark.parametrize(("size", "lines"), [(1, 0), (12, 1)])
def test_a_protected_replica_is_named_only_where_its_leaving_makes_room(size, lines):
    rest = 20 - size
    seen = facts(CARD, {"a": [loaded("low:1", size * GIB), loaded("top:1", rest * GIB)]}, ["low:1", "top:1"])
    want = desired(
        model("low:1", ["a"], size * GIB, protect=True),
        model("top:1", ["a"], rest * GIB, priority=9),
        model("big:1", ["a"], 12 * GIB, priority=5),
    )
    told = hints(CARD, want, seen, applied(owned("low:1", "a"), owned("top:1", "a")))
    assert len([line for line in told if "protected" in line]) == lines


@pytest.mark.parametrize(("ram", "lines"), [(8, 0), (64, 1)])
def test_the_cpu_is_named_only_where_its_ram_has_room(ram, lines):
    of = fleet(node("a", ram=ram * GIB))
    assert len(hints(of, desired(BIG), facts(of))) == lines


@pytest.mark.parametrize(("size", "lines"), [(1, 1), (12, 0)])
def test_a_raised_limit_of_models_is_named_only_where_the_cards_have_room_too(size, lines):
    names = ["m1:1", "m2:1", "m3:1"]
    seen = facts(CARD, {"a": [loaded(name, 4 * GIB) for name in names]}, [*names, "big:1"])
    want = desired(*(model(name, ["a"], 4 * GIB, priority=1) for name in names), model("big:1", ["a"], size * GIB))
    assert len([line for line in hints(CARD, want, seen) if "OLLAMA_MAX_LOADED_MODELS" in line]) == lines


def test_the_file_is_asked_for_only_where_the_model_would_have_room():
    of = fleet(node("a", 10 * GIB, kind=EngineKind.LLAMACPP))
    assert hints(of, desired(model("big", ["a"], 16 * GIB)), facts(of), of_model="big") == ()
    assert len(hints(of, desired(model("big", ["a"], 6 * GIB)), facts(of), of_model="big")) == 1
