"""The exact solver finds the best placement there is, says what it proved, and gives the same plan every time."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent.parent / "planning"))
from placement.test_placement_objective import GUARDED, every_placement, planned, small_fleets, words

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
from planning.fleets import ALL_OF_IT, GIB, actions, desired, facts, fleet, loaded, model, node, plan
from planning.properties import over_in_plan, second_steps
from planning.wide_fleets import wide_world
from planted.draw import Group
from planted.judge import plan_of, verdict

from reconciler.fleet import Each, EngineSpec, Solver, Spread
from reconciler.placement import SolverMissing, mip, place
from reconciler.placement.mip import Program, SolverBudget, solve
from reconciler.placement.result import SolverEnd

EXACT = Solver.EXACT
CHAIN = ({"a": 24, "b": 16, "c": 8}, {"x:latest": (12, 0, 1, ("a",)), "y:latest": (8, 0, 1, ("b",)), "z:latest": (24, 0, 1, ())})
"""Both residents must move, one after the other, before the large one fits."""


@settings(max_examples=80)
@given(small_fleets())
def test_what_it_finds_is_the_best_of_all_placements_and_it_proves_that(drawn):
    cards, models = drawn
    told = planned(cards, models, solver=EXACT).placement
    best = min((tuple(one * GIB for one in out), disturbance) for out, _, disturbance in every_placement(cards, models))
    assert tuple(level.bytes for level in told.unplaced) == best[0]
    assert (told.objective, told.bound, told.gap, told.proved) == (sum(best[0]), sum(best[0]), 0.0, True)
    if not best[1]:
        assert told.moved == 0


@st.composite
def small_fleets_in_company(draw):
    """Small fleets without what is protected; one pair of models is never on one card, and of another one may only be beside the other."""
    cards, models = draw(small_fleets().filter(lambda drawn: len(drawn[1]) > 1))
    models = {name.replace(GUARDED, "m"): one for name, one in models.items()}
    names = draw(st.permutations(sorted(models)))
    return cards, models, [(names[0], names[1])], [(names[2], names[draw(st.integers(0, 1))])] if len(names) > 2 else []


@settings(max_examples=150)
@given(small_fleets_in_company())
def test_it_knows_who_may_be_beside_whom_and_proves_the_best_of_those_placements(drawn):
    cards, models, apart, beside = drawn
    told = planned(cards, models, apart, beside, solver=EXACT).placement
    best = min((tuple(one * GIB for one in out), disturbance) for out, _, disturbance in every_placement(cards, models, apart, beside))
    assert tuple(level.bytes for level in told.unplaced) == best[0]
    assert (told.objective, told.bound, told.proved) == (sum(best[0]), sum(best[0]), True)
    if not best[1]:
        assert told.moved == 0


def test_a_victim_of_a_victim_moves_too():
    of = planned(*CHAIN, solver=EXACT)
    told = of.placement
    assert (told.solver, told.objective, told.moved, told.proved, told.ended) == ("exact", 0, 2, True, "proved")
    assert "20.0 GiB (2 replicas) moved for others, and no placement disturbs less." in words(of)
    assert {one for one in actions(of) if one.startswith(("load", "unload"))} == {
        "unload model.x:latest@a/ollama",
        "unload model.y:latest@b/ollama",
        "load model.x:latest@b/ollama",
        "load model.y:latest@c/ollama",
        "load model.z:latest@a/ollama",
    }


def test_the_same_facts_give_the_same_plan_and_the_digest_tells_the_solver():
    assert planned(*CHAIN, solver=EXACT) == planned(*CHAIN, solver=EXACT)
    fits = ({"a": 10}, {"m:latest": (4, 0, 1, ())})
    one, other = planned(*fits), planned(*fits, solver=EXACT)
    assert actions(one) == actions(other)
    assert one.digest != other.digest


@pytest.mark.parametrize("seed", range(24))
def test_in_any_world_it_is_no_worse_overfills_no_card_and_leaves_nothing_for_the_next_plan(seed):
    world = wide_world(seed)
    exact = replace(world, desired=replace(world.desired, solver=EXACT))
    builtin, found = world.plan(), exact.plan()
    assert [level.bytes for level in found.placement.unplaced] <= [level.bytes for level in builtin.placement.unplaced]
    assert found.placement.bound <= found.placement.objective
    assert over_in_plan(found) == []
    if not found.refusals and not second_steps(world, builtin):
        assert second_steps(exact, found) == []


def limited(spec, **fields):
    """A node of one engine with another engine in its place."""
    return replace(spec, engines=tuple(replace(engine, **fields) for engine in spec.engines))


@pytest.mark.parametrize(
    ("spec", "most"),
    [
        (limited(node("a", 24 * GIB), env={"OLLAMA_MAX_LOADED_MODELS": "2"}), 2),
        (limited(node("a", 24 * GIB), memory_limit=9 * GIB), 2),
    ],
)
def test_the_limits_of_an_engine_hold(spec, most):
    of = fleet(spec)
    want = desired(*(model(f"m{n}:1", ["a"], 4 * GIB) for n in range(4)), limits=ALL_OF_IT, solver=EXACT)
    told = plan(of, want, facts(of)).placement
    assert told.unplaced[0].count == 4 - most
    assert told.objective == (4 - most) * 4 * GIB


def test_a_written_spread_and_what_is_protected_hold():
    of = fleet(node("a", 12 * GIB), node("b", 8 * GIB))
    engine = of.nodes["a"].engines[0]
    second = EngineSpec(replace(engine.id, engine="second"), engine.kind, "http://a:2")
    of = fleet(replace(of.nodes["a"], engines=(engine, second)), of.nodes["b"])
    seen = facts(of, {"b": [loaded("guarded:1", 8 * GIB)]})
    apart = model("apart:1", ["a", "b"], 6 * GIB, replicas=2, spread=Spread.NODE, spread_hard=True, priority=9)
    guarded = model("guarded:1", ["b"], 8 * GIB, protect=True)
    result = plan(of, desired(apart, guarded, limits=ALL_OF_IT, solver=EXACT), seen)
    assert [(level.priority, level.count) for level in result.placement.unplaced] == [(9, 1), (0, 0)]
    assert "model.guarded:1@b/ollama" in result.placed


def test_one_replica_for_each_node_moves_what_may_be_elsewhere():
    of = fleet(node("a", 10 * GIB), node("b", 10 * GIB), node("c", 10 * GIB))
    seen = facts(of, {"a": [loaded("free:1", 6 * GIB)]})
    each = model("each:1", ["a", "b"], 6 * GIB, each=Each.NODE)
    result = plan(of, desired(each, model("free:1", ["a", "b", "c"], 6 * GIB), limits=ALL_OF_IT, solver=EXACT), seen)
    assert result.placement.objective == 0
    assert set(result.placed) == {"model.each:1@a/ollama", "model.each:1@b/ollama", "model.free:1@c/ollama"}


def test_what_one_move_makes_room_for_is_proved_in_a_fleet_of_every_shape():
    of = Group("drawn", "shapes", (4,), range(1)).draw(4, 2)
    told = plan_of(replace(of, desired=replace(of.desired, solver=EXACT))).placement
    assert (told.ended, told.moved, told.proved) == ("proved", 1, True)


def test_where_its_work_is_used_up_the_builtin_answer_stands_and_nothing_is_proved(monkeypatch):
    monkeypatch.setattr(sys.modules[place.__module__], "EXACT_WORK", 0)
    cards = {"a": 20, "b": 17, "c": 15}
    models = {f"m{n}:latest": (size, 0, 1, ()) for n, size in enumerate((9, 8, 8, 7, 7, 6, 5, 4))}
    told, builtin = planned(cards, models, solver=EXACT).placement, planned(cards, models).placement
    assert (told.ended, told.proved) == ("work", False)
    assert told.objective <= builtin.objective


@pytest.mark.parametrize("seed", [1, 4, 6])
def test_where_its_work_is_used_up_the_plan_after_the_apply_is_empty_too(monkeypatch, seed):
    monkeypatch.setattr(sys.modules[place.__module__], "EXACT_WORK", 8000)
    of = Group("drawn", "priorities", (8,), range(1)).draw(8, seed)
    of = replace(of, desired=replace(of.desired, solver=EXACT))
    found = plan_of(of)
    assert found.placement.ended == "work"
    assert verdict(of, found, second=True).second == 0


def test_without_the_extra_it_is_one_sentence_with_the_command(monkeypatch):
    monkeypatch.setattr(mip, "find_spec", lambda name: None)
    with pytest.raises(SolverMissing, match=r"needs HiGHS, which is not installed here; in a clone of gpurec: pip install '\.\[exact\]'"):
        planned(*CHAIN, solver=EXACT)


def test_it_writes_nothing_to_the_standard_output(capfd):
    planned(*CHAIN, solver=EXACT)
    assert capfd.readouterr() == ("", "")


def test_a_program_is_solved_from_a_start_and_its_bound_is_below_its_cost():
    program = Program()
    numbers = [program.number() for _ in range(3)]
    program.row(dict(zip(numbers, (3.0, 4.0, 5.0), strict=True)), upper=8)
    cost = dict(zip(numbers, (-3.0, -4.0, -5.0), strict=True))
    answer = solve(program, cost, [0, 0, 1], SolverBudget(10**6, 60))
    assert (list(answer.numbers), answer.cost, answer.ended) == ([1, 0, 1], -8.0, SolverEnd.PROVED)
    assert answer.bound == pytest.approx(answer.cost)


def test_the_same_work_gives_the_same_numbers_and_the_same_bound():
    sizes, rooms = [3 + 7 * n % 15 for n in range(60)], [24] * 14
    program = Program()
    places = [[program.number() for _ in rooms] for _ in sizes]
    left = [program.number() for _ in sizes]
    for number, room in enumerate(rooms):
        program.row({row[number]: float(size) for row, size in zip(places, sizes, strict=True)}, upper=room)
    for row, out in zip(places, left, strict=True):
        program.row(dict.fromkeys([*row, out], 1.0), 1, 1)
    cost = dict(zip(left, map(float, sizes), strict=True))
    start = [0] * (left[0]) + [1] * len(left)
    answers = []
    for _ in range(2):
        budget = SolverBudget(10 * sum(len(terms) for _, _, terms in program.rows), 600)
        answers.append((solve(program, cost, start, budget), budget.work))
    assert answers[0] == answers[1]
    assert answers[0][0].ended is SolverEnd.WORK
    assert answers[0][0].bound <= answers[0][0].cost < sum(sizes)
