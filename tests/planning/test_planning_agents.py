"""Agents beside models in one plan: what they wait for, and that a saved plan stands while a part of it is done."""

from __future__ import annotations

from dataclasses import replace

from agents_of_worlds import with_daemons
from fleets import GIB, desired, fleet, loaded, model, node
from properties import against_when, over_in_plan, refused
from small_worlds import on_other, settles, two_engines, world
from wide_fleets import World

from reconciler.fleet import AGENTS, AgentEach, AgentSpec, ContainerSpec, ContextVia, GpuRequirement, When


def agent(name: str, nodes: str, vram: int, **fields: object) -> AgentSpec:
    if "each" in fields:
        fields["replicas"] = None
    given = GpuRequirement(vram)
    return AgentSpec(name, tuple(nodes), ContainerSpec("", "agent:1", "", ""), nodes, requirement=given, **fields)  # type: ignore[arg-type]


def with_agents(here: World, *agents: AgentSpec) -> World:
    of, seen = with_daemons(here.fleet, here.facts)
    return replace(here, fleet=of, facts=seen, desired=replace(here.desired, sections={AGENTS.key: agents}))


def needs(here: World, step: str) -> set[str]:
    return set(next(one.needs for one in here.plan().steps if one.id == step))


def test_an_agent_comes_to_a_card_after_a_reload_that_leaves_it_for_another_card_of_its_engine() -> None:
    both = two_engines("a", 12 * GIB, 24 * GIB)
    both = replace(both, engines=(both.engines[0], replace(both.engines[1], gpus=(0,))))
    want = desired(model("m1:1", ["a"], 8 * GIB, context=8192, context_via=ContextVia.REQUEST), model("m2:1", ["a"], 5 * GIB))
    one = world(fleet(both), want, {"a": [loaded("m1:1", 7 * GIB)]}, sizes={"m1:1": 8, "m2:1": 5})
    here = replace(one, facts=on_other(one.facts, "a", loaded("m2:1", 5 * GIB)))
    here = with_agents(here, agent("g", "a", 5 * GIB, each=AgentEach.GPU))
    assert over_in_plan(here.plan()) == []
    assert needs(here, "create:agent.g@a") == {"reload:model.m1:1@a/ollama"}


def test_an_agent_comes_to_a_card_after_what_asks_for_free_memory_of_it() -> None:
    of = fleet(node("a", 12 * GIB))
    here = world(of, desired(model("m1:1", ["a"], 4 * GIB, when=When(free_vram=8 * GIB))), sizes={"m1:1": 4})
    here = with_agents(here, agent("g", "a", 5 * GIB))
    assert needs(here, "create:agent.g@a") == {"load:model.m1:1@a/ollama"}
    assert against_when(here, here.plan()) == []
    assert settles(here) == []


def test_a_saved_plan_stands_after_agents_whose_places_the_others_would_have_had_without_it() -> None:
    of = fleet(node("a", 24 * GIB, 24 * GIB))
    here = with_agents(world(of, desired()), *(agent(f"g{number}", "a", 3 * GIB) for number in range(3)))
    plan = here.plan()
    steps = {step.id: step for step in plan.steps}
    order = [steps[f"create:agent.g{number}@a"] for number in (2, 0, 1)]
    assert [step.after["card"] for step in order] == ["GPU-a0", "GPU-a0", "GPU-a1"]
    assert refused(here, plan, order) == []
