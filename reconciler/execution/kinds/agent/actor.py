"""Agents in containers: looked at through the daemons of their nodes, started, replaced and removed."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from reconciler.execution.actor import Progress
from reconciler.execution.containers import ContainerWork, Daemons, OpenHost, adopted_field, adopts, applied_container, open_daemon
from reconciler.execution.kinds.agent.watched import looked_for_on
from reconciler.execution.resource import ActorContext, Surroundings
from reconciler.fleet import (
    AGENT,
    AGENTS,
    SERVICES,
    AppliedResource,
    ContainerFacts,
    ContainerHealth,
    ContainerSpec,
    NodeContainers,
    ResourceFacts,
    parse_agent_address,
)
from reconciler.planning import Action, Step
from reconciler.planning.containers import HEALTHY, container_found, current, written_form
from reconciler.planning.kinds.agent import AgentKind, AgentStep
from reconciler.planning.resource import anywhere_on, owned

LOOKS_AGAIN = 3
"""So many times the pause between two looks an agent must have run before it counts as started."""
STARTS_WITHIN = 60.0
"""Seconds until an agent runs; one with a health check is given what that asks for beside."""


class AgentActor:
    """`open_host` opens the daemon of a node."""

    def __init__(self, context: ActorContext, open_host: OpenHost = open_daemon) -> None:
        self.kind = AgentKind()
        self._context = context
        self._daemons = Daemons(context.fleet, open_host)
        self._works: dict[str, ContainerWork] = {}

    async def observe(self, around: Surroundings) -> Mapping[str, ResourceFacts]:
        specs = (*AGENTS.of(around.desired), *SERVICES.of(around.desired))
        rows = {address: around.applied.resources[address] for address in owned(self.kind, around.applied)}
        if not specs and not rows:
            return {}
        nodes = {node for spec in specs for node in spec.nodes if _runs_containers(around, node)}
        nodes |= {parse_agent_address(address)[2] for address in rows}
        unasked = {node for node in nodes if not around.asks(node)}
        found = {anywhere_on(AGENT, node): ResourceFacts(False) for node in unasked}
        found |= {address: ResourceFacts(True, row.fields) for address, row in rows.items() if parse_agent_address(address)[2] in unasked}
        if not (nodes := nodes - unasked):
            return found
        before = {address: spec for address, row in rows.items() if (spec := applied_container(row)) is not None}
        renamed = {address: by for address, row in rows.items() if (by := adopts(row, None))}
        asked = looked_for_on(around.fleet.name, sorted(nodes), specs, before, renamed)
        seen = await self._daemons.observe(asked)
        found |= {anywhere_on(AGENT, node): _of_node(there) for node, there in seen.items()}
        addresses = {one.address for there in seen.values() for one in there.containers or () if one.address is not None}
        for address in sorted({*rows, *(one for one in addresses if one.startswith(f"{AGENT}."))}):
            try:
                node = parse_agent_address(address)[2]
            except ValueError:
                continue
            if node in seen:
                found[address] = _facts(address, before.get(address), seen[node])
        return found

    async def look(self, step: Step) -> ResourceFacts:
        one = _agent(step)
        there = await self._work(one).observe()
        ours = there.of(step.address)
        return container_found(one.container, there, step.address, _is_healthy(current(ours, one.container)) if ours else None)

    async def act(self, step: Step, progress: Progress) -> None:
        one = _agent(step)
        if one.action is Action.REMOVE:
            await self._work(one).remove()
        elif one.action is not Action.WAIT:
            await self._work(one).make(progress)

    async def wait(self, step: Step) -> ResourceFacts:
        one = _agent(step)
        if one.action is not Action.REMOVE:
            await self._work(one).wait()
        return await self.look(step)

    def applied(self, step: Step, found: ResourceFacts) -> AppliedResource:
        one = _agent(step)
        fields = {name: value for name, value in step.after.items() if value is not None}
        fields |= adopted_field(step.address, one.container, found)
        return AppliedResource(step.address, fields, written_form(one.container) if one.container is not None else None)

    async def aclose(self) -> None:
        await self._daemons.aclose()

    def _work(self, step: AgentStep) -> ContainerWork:
        if step.address not in self._works:
            since: dict[str, float] = {}

            async def is_healthy() -> bool:
                """By its own check; without one it answers nobody, so what ends right after its start is told by looking again."""
                ours = (await self._works[step.address].observe()).of(step.address)
                if not ours or _is_healthy(one := current(ours, step.container)) is not True:
                    return False
                if one.health is ContainerHealth.HEALTHY:
                    return True
                now = asyncio.get_running_loop().time()
                return now - since.setdefault(one.id, now) >= LOOKS_AGAIN * self._context.poll_seconds

            self._works[step.address] = ContainerWork(
                self._daemons.of(step.node),
                self._context.fleet.name,
                step.address,
                step.container,
                pull=step.pull,
                is_healthy=is_healthy if step.container is not None else None,
                within=_starts_within(step.container),
                poll=self._context.poll_seconds,
                adopts=adopts(self._context.applied.resources.get(step.address), None),
                both_fit=step.both_fit,
            )
        return self._works[step.address]


def _runs_containers(around: Surroundings, node: str) -> bool:
    spec = around.fleet.nodes.get(node)
    return spec is not None and spec.docker is not None


def _of_node(there: NodeContainers) -> ResourceFacts:
    """What is known of any agent that may be on a node: it is not there, unless it has facts of its own."""
    if there.containers is None:
        return ResourceFacts(None, {}, there.reason or "its daemon could not be asked", there=there)
    return ResourceFacts(False, there=there)


def _facts(address: str, before: ContainerSpec | None, there: NodeContainers) -> ResourceFacts:
    """What is there of an agent, in the words of what was applied; how it is wanted is known later."""
    ours = there.of(address)
    healthy = _is_healthy(current(ours, before)) if ours else None
    found = container_found(before, there, address, healthy)
    if not found.exists:
        return ResourceFacts(found.exists, {}, None if found.exists is False else found.reason, there=there)
    return ResourceFacts(True, {**found.fields, HEALTHY: healthy}, None, found.fields if before is not None else None, there)


def _is_healthy(one: ContainerFacts) -> bool | None:
    """By its own health check; one without any is healthy while it runs. What is unhealthy is told by its state."""
    match one.health:
        case ContainerHealth.STARTING:
            return False
        case ContainerHealth.UNHEALTHY:
            return None
        case _:
            return True


def _starts_within(spec: ContainerSpec | None) -> float:
    check = spec.healthcheck if spec is not None else None
    if check is None:
        return STARTS_WITHIN
    every = (check.interval or 30.0) + (check.timeout or 30.0)
    return STARTS_WITHIN + (check.start_period or 0.0) + (check.retries or 3) * every


def _agent(step: Step) -> AgentStep:
    assert isinstance(step, AgentStep)
    return step
