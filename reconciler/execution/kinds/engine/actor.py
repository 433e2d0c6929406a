"""Engines that gpurec owns: looked at through their daemon or their systemd, and their own API; started, replaced and removed."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from reconciler.execution.actor import Progress
from reconciler.execution.containers import ContainerWork, Daemons, OpenHost, adopted_field, adopts, applied_container, open_daemon
from reconciler.execution.kinds.engine.units import UnitWork
from reconciler.execution.kinds.file.places import FileHosts
from reconciler.execution.resource import ActorContext, Surroundings
from reconciler.fleet import (
    AppliedResource,
    ContainersLookedFor,
    ContainerSpec,
    EngineId,
    EngineSpec,
    FleetFacts,
    NodeContainers,
    Problem,
    ResourceFacts,
    UnitSpec,
    looked_for,
    parse_resource_address,
    watched_env,
)
from reconciler.hosts import HostError
from reconciler.planning import Action, Step
from reconciler.planning.containers import HEALTHY, container_found, written_form
from reconciler.planning.kinds.engine import EngineStep, OwnedEngineKind, WantedEngine, urls_left
from reconciler.planning.kinds.engine.fields import RUNTIME, SCOPE, START_SECONDS, SYSTEMD, URL
from reconciler.planning.kinds.engine.unit import applied_unit
from reconciler.planning.resource import AfterPlan, owned

if TYPE_CHECKING:
    from reconciler.engines import Transport


class EngineActor:
    """Engines in containers and in units. `open_host` opens the daemon of a node."""

    def __init__(self, context: ActorContext, open_host: OpenHost = open_daemon) -> None:
        self.kind = OwnedEngineKind()
        self._context = context
        self._daemons = Daemons(context.fleet, open_host)
        self._transport: Transport | None = None
        self._works: dict[str, ContainerWork] = {}
        self._took: dict[str, float] = {}
        self._units: dict[str, UnitWork] = {}
        self._places = FileHosts(context.root, context.fleet, context.keys)
        self._specs = {engine.id: engine for node in context.fleet.nodes.values() for engine in node.engines}

    async def observe(self, around: Surroundings) -> Mapping[str, ResourceFacts]:
        after = AfterPlan(around.fleet, around.desired, around.facts, {}, around.applied)
        wanted = {one.address: one for one in self.kind.declared(after)}
        rows = {address: around.applied.resources[address] for address in owned(self.kind, around.applied)}
        asked = {address for address in (*wanted, *rows) if around.asks(parse_resource_address(address)[2])}
        found = {address: ResourceFacts(True, row.fields) for address, row in rows.items() if address not in asked}
        wanted = {address: one for address, one in wanted.items() if address in asked}
        rows = {address: row for address, row in rows.items() if address in asked}
        units = {address for address, one in wanted.items() if one.unit is not None}
        units |= {address for address, row in rows.items() if row.fields.get(RUNTIME) == SYSTEMD}
        containers = sorted({*wanted, *rows} - units)
        by_unit = await asyncio.gather(*(self._unit_facts(at, wanted.get(at), rows.get(at), around.facts) for at in sorted(units)))
        return {**found, **await self._containers(containers, wanted, rows, around), **dict(zip(sorted(units), by_unit, strict=True))}

    async def _containers(
        self,
        addresses: Sequence[str],
        wanted: Mapping[str, WantedEngine],
        rows: Mapping[str, AppliedResource],
        around: Surroundings,
    ) -> Mapping[str, ResourceFacts]:
        if not addresses:
            return {}
        before = {address: applied_container(rows[address]) for address in addresses if address in rows}
        asked: dict[str, list[ContainerSpec]] = defaultdict(list)
        for address in addresses:
            node = parse_resource_address(address)[2]
            now = wanted[address].container if address in wanted else None
            asked[node] += [spec for spec in (now, before.get(address)) if spec is not None]
        adopted: dict[str, dict[str, str]] = defaultdict(dict)
        for address in addresses:
            now = wanted[address].container if address in wanted else None
            if name := adopts(rows.get(address), now):
                adopted[parse_resource_address(address)[2]][name] = address
        there = await self._daemons.observe({node: _looked_for(around.fleet.name, specs, adopted[node]) for node, specs in asked.items()})
        found = {}
        for address in addresses:
            _, engine, node = parse_resource_address(address)
            seen = around.facts.engine(EngineId(node, engine))
            spec = self._specs.get(EngineId(node, engine))
            healthy = seen.reachable if seen is not None else None
            now = wanted[address].container if address in wanted else None
            found[address] = _facts(address, now, before.get(address), there[node], healthy, spec.url if spec is not None else "")
        return found

    async def _unit_facts(self, address: str, wanted: WantedEngine | None, row: AppliedResource | None, facts: FleetFacts) -> ResourceFacts:
        _, engine, node = parse_resource_address(address)
        unit = wanted.unit if wanted is not None and wanted.unit is not None else applied_unit(row)
        if unit is None:
            return ResourceFacts(None, {}, "the state does not tell its unit")
        seen = facts.engine(EngineId(node, engine))
        try:
            work = self._unit_work(node, unit, None)
        except HostError as error:
            return ResourceFacts(None, {}, error.problems[0].sentence())
        return await work.look(seen.reachable if seen is not None else None, leaves=wanted is None)

    def _unit_work(self, node: str, unit: UnitSpec, step: EngineStep | None) -> UnitWork:
        async def is_healthy() -> bool:
            return step is not None and await self._is_healthy(step)

        spec = self._spec(step) if step is not None else None
        if node not in self._context.fleet.nodes:
            raise HostError(Problem(f"{node} is not in the inventory any more, so its units cannot be reached"), "no_node")
        sudo = self._places.sudo(node)
        within = spec.load_timeout if spec is not None else 0.0
        return UnitWork(self._places.host(node), unit, sudo, is_healthy, within, self._context.poll_seconds, self._context.keys)

    async def look(self, step: Step) -> ResourceFacts:
        one = _engine(step)
        if (unit := self._unit(one)) is not None:
            return await unit.look(await self._answers(one), leaves=one.action is Action.REMOVE)
        there = await self._work(one).observe()
        return container_found(one.container, there, step.address, await self._answers(one) if _is_there(there, step) else None)

    async def act(self, step: Step, progress: Progress) -> None:
        one = _engine(step)
        unit = self._unit(one)
        if one.action is Action.REMOVE:
            await (unit.remove() if unit is not None else self._work(one).remove())
        elif one.action is not Action.WAIT:
            await (unit.make() if unit is not None else self._work(one).make(progress, restart=one.restart))

    async def wait(self, step: Step) -> ResourceFacts:
        one = _engine(step)
        unit = self._unit(one)
        if one.action is not Action.REMOVE:
            await (unit.wait() if unit is not None else self._work(one).wait())
        if (begun := unit.began if unit is not None else self._work(one).began) is not None:
            self._took[step.address] = round(asyncio.get_running_loop().time() - begun, 1)
        return await self.look(step)

    def applied(self, step: Step, found: ResourceFacts) -> AppliedResource:
        one = _engine(step)
        fields = {name: value for name, value in step.after.items() if value is not None}
        before = self._context.applied.resources.get(step.address)
        took = self._took.get(step.address, before.fields.get(START_SECONDS) if before is not None else None)
        fields |= {START_SECONDS: took} if took is not None else {}
        fields |= {URL: spec.url} if (spec := self._spec(one)) is not None else {}
        if one.unit is not None:
            return AppliedResource(step.address, {**fields, SCOPE: one.unit.scope.value}, one.unit.written)
        fields |= adopted_field(step.address, one.container, found)
        return AppliedResource(step.address, fields, written_form(one.container) if one.container is not None else None)

    def _unit(self, step: EngineStep) -> UnitWork | None:
        if step.unit is None:
            return None
        if step.address not in self._units:
            self._units[step.address] = self._unit_work(step.node, step.unit, step)
        return self._units[step.address]

    async def aclose(self) -> None:
        await self._daemons.aclose()
        if self._transport is not None:
            await self._transport.__aexit__(None, None, None)

    def _work(self, step: EngineStep) -> ContainerWork:
        if step.address not in self._works:
            spec = self._spec(step)

            async def is_healthy() -> bool:
                return await self._is_healthy(step)

            self._works[step.address] = ContainerWork(
                self._daemons.of(step.node),
                self._context.fleet.name,
                step.address,
                step.container,
                pull=step.pull,
                is_healthy=is_healthy if spec is not None else None,
                within=spec.load_timeout if spec is not None else 0.0,
                poll=self._context.poll_seconds,
                adopts=adopts(self._context.applied.resources.get(step.address), step.container),
                both_fit=step.both_fit,
            )
        return self._works[step.address]

    def _spec(self, step: EngineStep) -> EngineSpec | None:
        return self._specs.get(EngineId(step.node, step.engine))

    async def _answers(self, step: EngineStep) -> bool:
        """Whether it answers where its files have it, or where the last apply left it."""
        left = urls_left(self._context.fleet, self._context.applied).get(EngineId(step.node, step.engine))
        return await self._is_healthy(step) or (left is not None and await self._is_healthy(step, left))

    async def _is_healthy(self, step: EngineStep, url: str | None = None) -> bool:
        """Whether the engine answers where its files have it, or at another `url`, as every look at engines asks it."""
        spec = self._spec(step)
        if spec is None:
            return False
        from reconciler.engines import Transport
        from reconciler.probes import probe_engine

        if self._transport is None:
            self._transport = await Transport().__aenter__()
            self._transport.know(one.bearer for one in self._specs.values())
        return (await probe_engine(replace(spec, url=url or spec.url), self._transport)).reachable


def _is_there(there: NodeContainers, step: Step) -> bool:
    return there.containers is not None and bool(there.of(step.address))


def _looked_for(fleet: str, specs: list[ContainerSpec], adopted: Mapping[str, str]) -> ContainersLookedFor:
    """What is to be told of a daemon, for containers as they are wanted and as they were applied: of one address both."""
    by_address: dict[str, list[ContainerSpec]] = defaultdict(list)
    for spec in specs:
        by_address[spec.address].append(spec)
    whole = looked_for(fleet, tuple(specs))
    env = {address: watched_env(*some) for address, some in by_address.items()}
    return replace(whole, env=env, adopted=adopted)


def _facts(
    address: str, wanted: ContainerSpec | None, before: ContainerSpec | None, there: NodeContainers, healthy: bool | None, url: str
) -> ResourceFacts:
    found = container_found(wanted or before, there, address, healthy)
    if found.exists is False and found.reason is None and healthy and wanted is not None:
        what = f"a server that gpurec did not start answers at {url}: stop it, or write another `port:`"
        return replace(found, reason=what)
    if not found.exists:
        return found
    fields = {**found.fields, HEALTHY: healthy}
    as_applied = container_found(before, there, address, healthy).fields if before is not None else None
    return ResourceFacts(True, fields, None, as_applied, there)


def _engine(step: Step) -> EngineStep:
    assert isinstance(step, EngineStep)
    return step
