"""The promises of a plan over fleets of every kind, by seed: a failure prints the seed, and `wide_world(SEED)` is that fleet again."""

from __future__ import annotations

import random
from functools import cache

import pytest
from pretend import some_order
from properties import over_in_plan, over_on_the_way, refused, second_steps, third_steps
from wide_fleets import World, wide_world

from reconciler.fleet import AGENT, EngineId
from reconciler.planning import Action, Plan, model_steps

SEEDS = range(200)
"""Few of the many thousand that were run when something was changed here; `make properties` draws others."""
CHUNK = 25
CHUNKS = [range(start, start + CHUNK) for start in range(0, len(SEEDS), CHUNK)]
GAINED_ROOM_TWICE = (7607, 11781, 16299)
"""Where a client's resident that had left already was let go once more for a load, so that its card seemed to gain room."""


@cache
def planned(seeds: range) -> list[tuple[int, World, Plan]]:
    """Those whose plan is not refused by a guard: nobody carries the others out."""
    worlds = ((seed, wide_world(seed)) for seed in seeds)
    return [(seed, world, result) for seed, world in worlds if not (result := world.plan()).refusals]


@pytest.mark.parametrize("seeds", CHUNKS, ids=str)
def test_the_plan_after_a_complete_apply_is_empty(seeds):
    found = {seed: second_steps(world, result) for seed, world, result in planned(seeds)}
    assert {seed: steps for seed, steps in found.items() if steps} == {}


@pytest.mark.parametrize("seeds", CHUNKS, ids=str)
def test_the_plan_after_an_apply_that_was_cut_or_partly_failed_brings_the_rest(seeds):
    found = {seed: third_steps(world, result, random.Random(seed)) for seed, world, result in planned(seeds)}
    assert {seed: steps for seed, steps in found.items() if steps} == {}


@pytest.mark.parametrize("seeds", CHUNKS, ids=str)
def test_no_card_of_a_plan_is_ever_over_what_it_may_hold_or_held_before(seeds):
    found = {seed: over_in_plan(result) for seed, _, result in planned(seeds)}
    assert {seed: cards for seed, cards in found.items() if cards} == {}


@pytest.mark.parametrize("seed", GAINED_ROOM_TWICE)
def test_a_resident_gives_its_room_back_only_once(seed):
    assert over_in_plan(wide_world(seed).plan()) == []


@pytest.mark.parametrize("seeds", CHUNKS, ids=str)
def test_nothing_is_over_a_bound_on_any_drawn_schedule_that_respects_needs(seeds):
    found = {seed: over_on_the_way(world, result, random.Random(seed)) for seed, world, result in planned(seeds)}
    assert {seed: seen for seed, seen in found.items() if seen} == {}


@pytest.mark.parametrize("seeds", CHUNKS, ids=str)
def test_a_plan_stands_on_its_own_facts_and_after_any_part_of_it(seeds):
    found = {seed: refused(world, result, some_order(result, seed)) for seed, world, result in planned(seeds)}
    assert {seed: why for seed, why in found.items() if why} == {}


@pytest.mark.parametrize("seeds", CHUNKS, ids=str)
def test_nothing_is_done_where_nobody_can_look_or_nobody_asked(seeds):
    for seed, world, result in planned(seeds):
        assert all(world.selected is None or step.node in world.selected for step in result.steps), seed
        for step in model_steps(result.steps):
            engine = world.facts.engine(EngineId(step.node, step.engine))
            assert engine is not None, (seed, step.id)
            assert engine.reachable, (seed, step.id)
            if step.action is Action.UNLOAD and step.reason.code in ("not_wanted", "surplus", "displaced"):
                assert step.address in world.applied.replicas, (seed, step.id)
            if step.action is Action.REMOVE:
                absent = {model.name for model in world.desired.absent}
                assert step.model in absent, (seed, step.id)


def test_the_worlds_are_the_same_for_the_same_seed_and_hold_what_they_are_to_try():
    assert wide_world(7).plan() == wide_world(7).plan()
    results = [result for _, _, result in planned(SEEDS)]
    codes = {step.reason.code for result in results for step in result.steps}
    assert codes >= {
        "not_loaded",
        "missing",
        "surplus",
        "displaced",
        "eviction",
        "cpu_fallback",
        "context_differs",
        "shares_runner",
        "make_tag",
    }
    assert codes >= {"found_resident", "keep_alive_differs", "on_demand", "absent", "not_wanted", "options_changed", "unmanaged"}
    assert {AGENT} <= {step.kind for result in results for step in result.steps}
    assert any(world.selected is not None for _, world, _ in planned(SEEDS))
