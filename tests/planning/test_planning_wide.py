"""The promises of a plan over fleets of every kind, by seed: a failure prints the seed, and `wide_world(SEED)` is that fleet again."""

from __future__ import annotations

import random
from functools import cache

import pytest
from pretend import some_order
from wide_fleets import World, apply_all, carry, wide_world

from reconciler.fleet import EngineId
from reconciler.planning import Action, Plan, first_moved

SEEDS = range(200)
"""Few of the many thousand that were run when something was changed here; drawn anew by no run."""
CHUNK = 25
CHUNKS = [range(start, start + CHUNK) for start in range(0, len(SEEDS), CHUNK)]


@cache
def planned(seeds: range) -> list[tuple[int, World, Plan]]:
    """Those whose plan is not refused by a guard: nobody carries the others out."""
    worlds = ((seed, wide_world(seed)) for seed in seeds)
    return [(seed, world, result) for seed, world in worlds if not (result := world.plan()).refusals]


@pytest.mark.parametrize("seeds", CHUNKS, ids=str)
def test_the_plan_after_a_complete_apply_is_empty(seeds):
    found = {seed: [step.id for step in apply_all(world, result).plan().steps] for seed, world, result in planned(seeds)}
    assert {seed: steps for seed, steps in found.items() if steps} == {}


@pytest.mark.parametrize("seeds", CHUNKS, ids=str)
def test_the_plan_after_an_apply_that_was_ended_anywhere_brings_the_rest(seeds):
    found = {}
    for seed, world, result in planned(seeds):
        chance = random.Random(seed)
        some = some_order(result, seed)
        for step in some[: chance.randint(0, len(some))]:
            world = carry(world, result, step)
        again = world.plan()
        found[seed] = [step.id for step in apply_all(world, again).plan().steps] if not again.refusals else []
    assert {seed: steps for seed, steps in found.items() if steps} == {}


@pytest.mark.parametrize("seeds", CHUNKS, ids=str)
def test_no_card_is_ever_over_what_it_may_hold_or_held_before(seeds):
    over = [
        (seed, card.node, card.gpu)
        for seed, _, result in planned(seeds)
        for card in result.gpus
        if card.usable_bytes is not None and card.peak_bytes > max(card.usable_bytes - card.foreign_bytes, card.before_bytes)
    ]
    assert over == []


@pytest.mark.parametrize("seeds", CHUNKS, ids=str)
def test_a_plan_stands_on_its_own_facts_and_after_any_part_of_it(seeds):
    found = {}
    for seed, world, result in planned(seeds):
        now, steps = world, some_order(result, seed)
        for step in [None, *steps]:
            now = now if step is None else carry(now, result, step)
            moved = first_moved(result, world.fleet, world.desired, now.facts, now.applied, world.selected)
            if moved is not None:
                found[seed] = (step and step.id, moved.step.id, moved.why)
                break
    assert found == {}


@pytest.mark.parametrize("seeds", CHUNKS, ids=str)
def test_nothing_is_done_where_nobody_can_look_or_nobody_asked(seeds):
    for seed, world, result in planned(seeds):
        for step in result.steps:
            engine = world.facts.engine(EngineId(step.node, step.engine))
            assert engine is not None, (seed, step.id)
            assert engine.reachable, (seed, step.id)
            assert world.selected is None or step.node in world.selected, (seed, step.id)
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
    assert any(world.selected is not None for _, world, _ in planned(SEEDS))
