"""Models that are wanted at some hours only, or only where so much memory is free."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC

import pytest
from fleets import GIB, NOW, actions, applied, desired, facts, fleet, loaded, model, node, owned, plan
from pretend import carry_out

from reconciler.fleet import FleetFacts, Hours, When
from reconciler.planning import Plan, first_stale_step
from reconciler.planning.kinds.model.hours import outside_hours
from reconciler.planning.plan import ModelHours

NIGHT = When(hours=Hours(0, 360, frozenset(range(7)), UTC, "00:00-06:00 UTC"))
DAY = When(hours=Hours(480, 1080, frozenset(range(7)), UTC, "08:00-18:00 UTC"))
"""It is midnight in these facts."""


def later(seen: FleetFacts) -> FleetFacts:
    return replace(seen, at=NOW.replace("T00", "T12"))


def test_outside_its_hours_what_gpurec_loaded_leaves_and_nothing_is_unplaced() -> None:
    of = fleet(node("a", 24 * GIB))
    seen = facts(of, {"a": [loaded("m:1", 8 * GIB)]}, ["m:1"])
    found = plan(of, desired(model("m:1", ["a"], 8 * GIB, when=DAY)), seen, applied(owned("m:1", "a", 8 * GIB)))
    assert actions(found) == ["unload model.m:1@a/ollama"]
    assert found.steps[0].reason.code == "outside_hours"
    assert found.steps[0].reason.message == "is wanted at 08:00-18:00 UTC only"
    assert not found.unplaced
    assert [(one.model, one.wanted, one.until) for one in found.hours] == [("m:1", False, "2026-01-01T08:00:00Z")]
    (note,) = (note for note in found.notes if note.code == "outside_hours")
    assert note.message == "is not wanted now, only at 08:00-18:00 UTC; next from 2026-01-01T08:00:00Z on"


def test_of_hours_that_never_come_nothing_is_said_of_a_next_time() -> None:
    want = desired(model("m:1", ["a"], 8 * GIB, when=DAY, outside_hours=True))
    (note,) = outside_hours(want, [ModelHours("m:1", False, None)])
    assert note.message == "is not wanted now, only at 08:00-18:00 UTC"


@pytest.mark.parametrize("how", [{"replicas": 1}, {"each": "node"}])
def test_within_its_hours_it_is_wanted_like_any_other(how: dict[str, object]) -> None:
    of = fleet(node("a", 24 * GIB))
    found = plan(of, desired(model("m:1", ["a"], 8 * GIB, when=NIGHT, **how)), facts(of, installed=["m:1"]))
    assert actions(found) == ["load model.m:1@a/ollama"]
    assert [(one.wanted, one.until) for one in found.hours] == [(True, "2026-01-01T06:00:00Z")]


def test_the_hour_is_that_of_the_facts_and_part_of_the_digest() -> None:
    of = fleet(node("a", 4 * GIB))
    want, seen = desired(model("m:1", ["a"], 8 * GIB, when=NIGHT)), facts(of, installed=["m:1"])
    early, late = plan(of, want, seen), plan(of, want, later(seen))
    assert not early.steps
    assert not late.steps
    assert early.digest != late.digest
    assert (
        plan(of, desired(model("m:1", ["a"], 8 * GIB)), seen).digest == plan(of, desired(model("m:1", ["a"], 8 * GIB)), later(seen)).digest
    )


def test_what_leaves_at_its_hour_makes_room_for_what_comes_then() -> None:
    of = fleet(node("a", 12 * GIB))
    want = desired(model("d:1", ["a"], 8 * GIB, when=DAY), model("n:1", ["a"], 8 * GIB, when=NIGHT))
    seen = facts(of, installed=["d:1", "n:1"])
    first = plan(of, want, seen)
    assert actions(first) == ["load model.n:1@a/ollama"]
    after, state = carry_out(first, seen, applied())
    second = plan(of, want, later(after), state)
    assert actions(second) == ["unload model.n:1@a/ollama", "load model.d:1@a/ollama"]
    assert second.steps[0].id in second.steps[1].needs


def room(result: Plan) -> list[tuple[str, str]]:
    return [(one.model, candidate.reason) for one in result.unplaced for candidate in one.candidates]


def test_it_is_loaded_only_where_so_much_is_free_before_it_comes() -> None:
    of = fleet(node("a", 12 * GIB), node("b", 16 * GIB))
    want = desired(model("m:1", ["a", "b"], 4 * GIB, when=When(12 * GIB)), model("n:1", ["b"], 2 * GIB, priority=1))
    assert plan(of, want, facts(of, installed=["m:1", "n:1"])).placed.keys() == {"model.m:1@b/ollama", "model.n:1@b/ollama"}
    want = desired(model("m:1", ["a", "b"], 4 * GIB, when=When(13 * GIB)), model("n:1", ["b"], 2 * GIB, priority=1))
    found = plan(of, want, facts(of, installed=["m:1", "n:1"]))
    assert room(found) == [("m:1", "free_vram"), ("m:1", "free_vram")]
    assert found.unplaced[0].candidates[1].message == "12.3 GiB free, and at least 13.0 GiB must be before it comes"
    assert found.unplaced[0].would_fit_if == ("it asks for less free memory: `when: {free_vram: 12697MiB}` under models.m:1",)


@pytest.mark.parametrize("free", [11 * GIB, 23 * GIB])
def test_less_free_memory_is_advised_only_where_it_alone_keeps_a_model_away(free: int) -> None:
    of = fleet(node("a", 24 * GIB), node("b", 12 * GIB))
    shy = model("m:1", ["a", "b"], 4 * GIB, when=When(free), never_with=("n:1",))
    found = plan(of, desired(shy, model("n:1", ["a"], 2 * GIB, priority=1)), facts(of, installed=["m:1", "n:1"]))
    assert room(found)[1] == ("m:1", "free_vram")
    less = [line for line in found.unplaced[0].would_fit_if if "free memory" in line]
    assert less == ["it asks for less free memory: `when: {free_vram: 11059MiB}` under models.m:1"], "b has that, and a has more, and n:1"


def test_what_is_loaded_stays_however_full_its_card_becomes() -> None:
    of = fleet(node("a", 12 * GIB))
    want = desired(model("m:1", ["a"], 4 * GIB, when=When(10 * GIB)), model("n:1", ["a"], 7 * GIB))
    seen = facts(of, {"a": [loaded("m:1", 4 * GIB), loaded("n:1", 7 * GIB)]}, ["m:1", "n:1"])
    assert not plan(of, want, seen, applied(owned("m:1", "a", 4 * GIB), owned("n:1", "a", 7 * GIB))).steps


def test_it_makes_nothing_leave_and_gives_way_itself() -> None:
    of = fleet(node("a", 12 * GIB))
    seen = facts(of, {"a": [loaded("n:1", 7 * GIB)]}, ["m:1", "n:1"])
    important = desired(model("m:1", ["a"], 4 * GIB, when=When(10 * GIB), priority=9), model("n:1", ["a"], 7 * GIB))
    assert not plan(of, important, seen, applied(owned("n:1", "a", 7 * GIB))).steps
    seen = facts(of, {"a": [loaded("m:1", 8 * GIB)]}, ["m:1", "n:1"])
    weak = desired(model("m:1", ["a"], 8 * GIB, when=When(10 * GIB)), model("n:1", ["a"], 7 * GIB, priority=1))
    assert actions(plan(of, weak, seen, applied(owned("m:1", "a", 8 * GIB)))) == ["unload model.m:1@a/ollama", "load model.n:1@a/ollama"]


def test_it_comes_after_all_that_leaves_its_card() -> None:
    of = fleet(node("a", 12 * GIB))
    seen = facts(of, {"a": [loaded("n:1", 3 * GIB)]}, ["m:1", "n:1"])
    found = plan(of, desired(model("m:1", ["a"], 4 * GIB, when=When(10 * GIB))), seen, applied(owned("n:1", "a", 3 * GIB)))
    assert actions(found) == ["unload model.n:1@a/ollama", "load model.m:1@a/ollama"]
    assert found.steps[1].needs == ("unload:model.n:1@a/ollama",)


def test_a_saved_plan_is_refused_where_others_took_the_memory_meanwhile() -> None:
    of = fleet(node("a", 12 * GIB))
    want, seen = desired(model("m:1", ["a"], 4 * GIB, when=When(10 * GIB))), facts(of, installed=["m:1", "x:1"])
    saved = plan(of, want, seen)
    assert first_stale_step(saved, of, want, seen, applied()) is None
    moved = first_stale_step(saved, of, want, facts(of, {"a": [loaded("x:1", 3 * GIB)]}, ["m:1", "x:1"]), applied())
    assert moved is not None
    assert moved.why == "it asks for 10.0 GiB free on a/0 before it comes, where 7987 MiB are now"
