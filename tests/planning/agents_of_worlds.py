"""Agents in drawn fleets, with a card of their own or at the engine of their model: their containers, and what an apply makes of them."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from dataclasses import replace

from reconciler.execution.containers import applied_container
from reconciler.fleet import (
    AGENT,
    AGENTS,
    AgentEach,
    AgentSpec,
    Applied,
    AppliedResource,
    ContainerFacts,
    ContainerSpec,
    ContainerState,
    Desired,
    DockerSpec,
    Fleet,
    FleetFacts,
    GpuRequirement,
    Near,
    NodeContainers,
    Owner,
    ResourceFacts,
    parse_agent_address,
)
from reconciler.planning import Action, Plan
from reconciler.planning.containers import container_found, written_form
from reconciler.planning.kinds.agent import AgentStep
from reconciler.planning.resource import anywhere_on

GIB = 2**30
Containers = Mapping[str, ContainerFacts]
"""What runs, by address."""


def with_daemons(fleet: Fleet, facts: FleetFacts) -> tuple[Fleet, FleetFacts]:
    """The fleet with a daemon on every node, and a UUID for each of its cards."""
    nodes, seen = {}, {}
    for name, node in fleet.nodes.items():
        cards = tuple(replace(card, uuid=_uuid(name, card.index)) for card in node.gpus or ())
        nodes[name] = replace(node, docker=DockerSpec(f"unix:///{name}.sock"), gpus=cards if node.gpus is not None else None)
        there = facts.nodes[name]
        found = tuple(replace(card, uuid=_uuid(name, card.index)) for card in there.cards or ())
        seen[name] = replace(there, cards=found if there.cards is not None else None)
    return replace(fleet, nodes=nodes), replace(facts, nodes=seen)


def _uuid(node: str, index: int | str) -> str:
    return f"GPU-{node}{index}"


def with_agents(chance: random.Random, fleet: Fleet, desired: Desired, models: Iterable[str]) -> Desired:
    """What is wanted, and up to three agents beside it."""
    names, known = sorted(fleet.nodes), sorted(models)
    agents = tuple(_agent(chance, f"g{number}", names, known) for number in range(chance.randint(0, 3)))
    return replace(desired, sections={**desired.sections, AGENTS.key: agents})


def _agent(chance: random.Random, name: str, names: list[str], models: list[str]) -> AgentSpec:
    nodes = tuple(sorted(chance.sample(names, chance.randint(1, len(names)))))
    each = chance.choice([None, None, None, AgentEach.NODE, AgentEach.GPU])
    model = chance.choice(models) if chance.random() < 0.5 else None
    return AgentSpec(
        name,
        nodes,
        ContainerSpec("", f"agent:{chance.randint(1, 2)}", "", ""),
        ",".join(nodes),
        replicas=None if each is not None else chance.randint(1, 2),
        each=each,
        model=model,
        near=chance.choice([*Near]) if model is not None else Near.ANY,
        requirement=GpuRequirement(chance.randint(1, 6) * GIB if model is None or chance.random() < 0.3 else None),
        requires_gpu=True if model is None else None,
    )


def seen_of_agents(fleet: Fleet, applied: Applied, containers: Containers) -> Mapping[str, ResourceFacts]:
    """What a look at the daemons tells of agents."""
    if not any(node.docker is not None for node in fleet.nodes.values()):
        return {}
    found: dict[str, ResourceFacts] = {}
    there = {name: NodeContainers(tuple(one for at, one in containers.items() if at.endswith(f"@{name}"))) for name in fleet.nodes}
    for name, some in there.items():
        found[anywhere_on(AGENT, name)] = ResourceFacts(False, there=some)
    for address in sorted({*applied.resources, *containers}):
        row, some = applied.resources.get(address), there[parse_agent_address(address)[2]]
        before = applied_container(row) if row is not None else None
        told = container_found(before, some, address, True)
        found[address] = replace(told, as_applied=told.fields if before is not None else None)
    return found


def carried(step: AgentStep, applied: Applied, containers: Containers) -> tuple[Applied, Containers]:
    """State and containers after a step about an agent worked."""
    rows, now = dict(applied.resources), dict(containers)
    if step.action is Action.REMOVE:
        rows.pop(step.address, None)
        now.pop(step.address, None)
    elif step.container is not None:
        fields = {name: value for name, value in step.after.items() if value is not None}
        rows[step.address] = AppliedResource(step.address, fields, written_form(step.container))
        if step.action in (Action.CREATE, Action.UPDATE):
            now[step.address] = _running(step.container, step.address)
    return replace(applied, resources=rows), now


def _running(spec: ContainerSpec, address: str) -> ContainerFacts:
    return ContainerFacts(
        f"id-{address}",
        spec.name,
        spec.image,
        ContainerState.RUNNING,
        Owner.OURS,
        f"fleet {spec.fleet!r}",
        address=address,
        spec=spec.hash,
        env={name: value for name, value in spec.env.items() if isinstance(value, str)},
        mounts=(),
        cards=spec.cards,
    )


def without_forgotten(plan: Plan, applied: Applied) -> Applied:
    """The state without the agents that a plan says are gone."""
    return replace(applied, resources={at: row for at, row in applied.resources.items() if at not in plan.forgotten})
