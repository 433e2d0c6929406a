"""Runs the commands by which programs read their files again."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Mapping

from reconciler.engines.foreign_text import clean_text
from reconciler.execution.actor import Progress
from reconciler.execution.kinds.file.places import RELOAD_WITHIN, FileHosts
from reconciler.execution.resource import ActorContext, Surroundings
from reconciler.fleet import LOCAL, AppliedResource, ResourceFacts, parse_resource_address
from reconciler.hosts import HostError
from reconciler.hosts.protocol import host_error
from reconciler.planning import Step
from reconciler.planning.kinds.file import ReloadKind, ReloadStep
from reconciler.planning.kinds.file.reload import DONE, reload_addresses
from reconciler.planning.resource import owned

_NOT_DONE = ResourceFacts(True, {DONE: False})


class ReloadActor:
    """For every command that the files name."""

    def __init__(self, context: ActorContext) -> None:
        self.kind = ReloadKind()
        self._places = FileHosts(context.root, context.fleet, context.keys)

    async def observe(self, around: Surroundings) -> Mapping[str, ResourceFacts]:
        """Nothing tells whether a program has read its files, but the state; a node is asked only whether it can be reached, and only
        where something is due from before."""
        named = reload_addresses(around.desired, around.fleet, around.facts)
        due = owned(self.kind, around.applied)
        made_up_for = [address for address in due if address in named]
        found = dict.fromkeys(named, _NOT_DONE) | dict.fromkeys(set(due) - named, ResourceFacts(False))
        nodes = sorted({node for address in made_up_for if around.asks(node := parse_resource_address(address)[2])} - {LOCAL})
        reached = await asyncio.gather(*map(self._reached, nodes))
        lost = {node: why for node, why in zip(nodes, reached, strict=False) if why is not None}
        return found | {at: ResourceFacts(None, {}, lost[node]) for at in made_up_for if (node := parse_resource_address(at)[2]) in lost}

    async def look(self, step: Step) -> ResourceFacts:
        return _NOT_DONE

    async def act(self, step: Step, progress: Progress) -> None:
        assert isinstance(step, ReloadStep)
        host, sudo = self._places.host(step.node), self._places.sudo(step.node)
        ran = await host.run(step.command, within=RELOAD_WITHIN, sudo=sudo)
        if ran.code != 0:
            said = clean_text((ran.err or ran.out).decode("utf-8", "replace")) or f"it ended with {ran.code}"
            what = f"{shlex.join(step.command)} failed: {said}"
            raise host_error("reload_failed", step.node, what, "it is run again by the next apply")

    async def wait(self, step: Step) -> ResourceFacts:
        return ResourceFacts(True, {DONE: True})

    def applied(self, step: Step, found: ResourceFacts) -> AppliedResource:
        return AppliedResource(step.address)

    async def aclose(self) -> None:
        """Nothing is left open."""

    async def _reached(self, node: str) -> str | None:
        """Why a node cannot be reached; None where it can."""
        try:
            await self._places.host(node).script("exit 0", within=self._places.within(node))
        except HostError as error:
            return error.problems[0].what
        return None
