"""What is alike is judged once: nobody can tell that from a plan."""

from __future__ import annotations

import copy
from dataclasses import fields, is_dataclass, replace
from enum import Enum

import pytest
from wide_fleets import World, wide_world

from reconciler.fleet import Answers, EngineId, Fleet, FleetFacts, replica_address

SEEDS = range(300, 420)
CHUNK = 20
CHUNKS = [range(start, start + CHUNK) for start in range(SEEDS.start, SEEDS.stop, CHUNK)]


def twice(seed: int) -> World:
    """The world of a seed with every node once more, under another name, and everything that is there."""
    world = wide_world(seed)
    again = {name: f"{name}x" for name in world.fleet.nodes}

    def renamed(value):
        match value:
            case EngineId(node, engine):
                return EngineId(again[node], engine)
            case tuple():
                return tuple(renamed(one) for one in value)
            case dict():
                return {key: renamed(one) for key, one in value.items()}
            case str():
                return again.get(value, value)
        if not is_dataclass(value) or isinstance(value, Enum):
            return value
        return replace(value, **{one.name: renamed(getattr(value, one.name)) for one in fields(value) if one.init})

    nodes = {again[name]: renamed(node) for name, node in world.fleet.nodes.items()}
    seen = {again[name]: renamed(node) for name, node in world.facts.nodes.items()}
    rows = {}
    for row in world.applied.replicas.values():
        at = EngineId(again[row.at.node], row.at.engine)
        rows[replica_address(row.model, at)] = replace(row, address=replica_address(row.model, at), at=at)
    models = [
        replace(
            model,
            nodes=tuple(sorted((*model.nodes, *(again[name] for name in model.nodes)))),
            replicas=None if model.replicas is None else 2 * model.replicas,
        )
        for model in world.desired.models
    ]
    return replace(
        world,
        fleet=Fleet("test", {**world.fleet.nodes, **nodes}),
        facts=FleetFacts(world.facts.at, {**world.facts.nodes, **seen}),
        applied=replace(world.applied, replicas={**world.applied.replicas, **rows}),
        desired=replace(world.desired, models=tuple(models)),
        selected=None if world.selected is None else world.selected | {again[name] for name in world.selected},
    )


def apart(value):
    """The same, of which no two parts are one object."""
    if is_dataclass(value) and not isinstance(value, (type, Enum)):
        found = copy.copy(value)
        for one in fields(value):
            object.__setattr__(found, one.name, apart(getattr(value, one.name)))
        return found
    if isinstance(value, tuple):
        return tuple([apart(one) for one in value])
    if isinstance(value, dict):
        return {key: apart(one) for key, one in value.items()}
    return "".join([*value]) if type(value) is str else value


@pytest.mark.parametrize("seeds", CHUNKS, ids=str)
def test_a_plan_is_the_same_whether_equal_facts_are_one_object_or_many(seeds):
    for seed in seeds:
        world = twice(seed)
        many = replace(world, facts=apart(world.facts), applied=apart(world.applied))
        assert many.facts == world.facts
        assert many.applied == world.applied
        assert many.plan() == world.plan(), seed


@pytest.mark.parametrize("seeds", CHUNKS, ids=str)
def test_a_plan_is_the_same_whether_what_is_alike_is_judged_once_or_each_by_itself(seeds, monkeypatch):
    once = {seed: twice(seed).plan() for seed in seeds}
    with monkeypatch.context() as every_time:
        every_time.setattr(Answers, "__missing__", lambda answers, seen: answers._ask(seen))
        for seed in seeds:
            assert twice(seed).plan() == once[seed], seed
