"""One container from what is there to what a step asks for: made, replaced, started again or removed, for every kind that runs in one.

A replacement keeps the old container until the new one answers. It is stopped first where both cannot run at once, and brought back where
the new one fails. Between any two requests a run may end: what it leaves bears our labels, so the next look finds it and goes on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache

from reconciler.containers import ContainerError, ContainerHost
from reconciler.execution.actor import Progress
from reconciler.fleet import (
    ADOPTED,
    AppliedResource,
    ContainerFacts,
    ContainersLookedFor,
    ContainerSpec,
    ContainerState,
    DockerSpec,
    Fleet,
    GpurecError,
    NodeContainers,
    NodeSpec,
    Place,
    Problem,
    PullPolicy,
    ResourceFacts,
    format_duration,
    looked_for,
    mismatches,
    watched_env,
)
from reconciler.planning.containers import current, in_the_way, why_stopped_first

NEXT, PREVIOUS = ".next", ".previous"
"""What is put behind the name of a container that takes the place of another, and of one that gave it up."""
_CRASHES = 3
"""A container that was started anew so often before it answered once will not come up."""
OpenHost = Callable[[NodeSpec, DockerSpec], ContainerHost]
IsHealthy = Callable[[], Awaitable[bool]]


def open_daemon(node: NodeSpec, docker: DockerSpec) -> ContainerHost:
    """The daemon of a node. What speaks HTTP imports much, so it is found only where there is a daemon."""
    from reconciler.containers import open_container_host

    return open_container_host(node, docker)


class Daemons:
    """The daemons of a fleet's nodes, each opened when it is asked for first."""

    def __init__(self, fleet: Fleet, open_host: OpenHost = open_daemon) -> None:
        self._fleet, self._open_host = fleet, open_host
        self._hosts: dict[str, ContainerHost] = {}

    def of(self, node: str) -> ContainerHost:
        """Raises ContainerError where the inventory names none."""
        if node not in self._hosts:
            spec = self._fleet.nodes.get(node)
            if spec is None:
                raise ContainerError(Problem(f"{node} is not in the inventory any more, so its containers cannot be reached"), "no_node")
            if spec.docker is None:
                raise ContainerError(Problem("it has no `docker` in the inventory", Place(node), "add `docker:` to the host"), "no_docker")
            self._hosts[node] = self._open_host(spec, spec.docker)
        return self._hosts[node]

    async def observe(self, wanted: Mapping[str, ContainersLookedFor]) -> Mapping[str, NodeContainers]:
        """What is there on each of these nodes; what cannot be asked is unknown."""

        async def one(node: str) -> NodeContainers:
            try:
                host = self.of(node)
            except ContainerError as error:
                return NodeContainers(None, None, error.problems[0].sentence(), error.code)
            return await host.observe(wanted[node])

        nodes = sorted(wanted)
        return dict(zip(nodes, await asyncio.gather(*map(one, nodes)), strict=True))

    async def aclose(self) -> None:
        for host in self._hosts.values():
            await host.aclose()


@dataclass(slots=True)
class _Done:
    """What was done so far. `new` is the container that is to stay, `made` says that this step made it; `old` is the one that is brought
    back where it fails; `stopped`: it does not run now, `renamed`: it has not its own name."""

    new: str
    made: bool
    old: ContainerFacts | None = None
    stopped: bool = False
    renamed: bool = False


class ContainerWork:
    """One container of one step. `within` seconds it may take until it answers; `is_healthy` asks it. `adopts` is the name, or the id, of a
    container without our labels that counts as this one. `both_fit`: the cards that it shares with the one that it replaces have room for
    both."""

    def __init__(
        self,
        host: ContainerHost,
        fleet: str,
        address: str,
        spec: ContainerSpec | None,
        *,
        pull: PullPolicy = PullPolicy.MISSING,
        is_healthy: IsHealthy | None = None,
        within: float = 60.0,
        poll: float = 0.5,
        adopts: str = "",
        both_fit: bool = False,
    ) -> None:
        self._host, self._fleet, self._address, self._spec = host, fleet, address, spec
        self._adopted = {adopts: address} if adopts else {}
        self._pull, self._is_healthy, self._within, self._poll = pull, is_healthy, within, poll
        self._both_fit = both_fit
        self._done: _Done | None = None
        self.began: float | None = None
        """When what is to run was begun, and what ran before had to go: by the loop's clock, after its image was fetched."""

    async def observe(self) -> NodeContainers:
        """What is there of it now."""
        return await self._host.observe(looked_for(self._fleet, (self._spec,) if self._spec is not None else (), self._adopted))

    async def make(self, progress: Progress, *, restart: bool = False) -> None:
        """Makes or replaces it, or starts what is there as it is wanted; `restart`: also what runs. Raises GpurecError, and then
        what was there runs again."""
        spec = self._wanted
        there = await self._known()
        if taken := there.in_the_way(spec):
            raise ContainerError(Problem(in_the_way(spec, taken[0]), Place(self._host.shown)), "taken")
        ours = await self._without_unfinished(there.of(self._address))
        now = current(ours, spec) if ours else None
        if now is not None and not any(not wrong.restarts for wrong in mismatches(spec, now)):
            self.began = asyncio.get_running_loop().time()
            await self._go_on_with(now, [one for one in ours if one is not now], restart)
            return
        await self._fetch(progress)
        self.began = asyncio.get_running_loop().time()
        for one in ours:
            if one is not now:
                await self._host.remove(one.id)
        if now is None:
            self._done = _Done(await self._host.create(spec), True)
        else:
            self._done = _Done(await self._host.create(spec, f"{spec.name}{NEXT}"), True, now)
        with_both = now is not None and now.state is ContainerState.RUNNING and why_stopped_first(now, spec, self._both_fit) is None
        await self._or_back(self._start(with_both))

    async def wait(self) -> None:
        """Until it answers; then what it replaced is removed. Raises GpurecError where it ends before or answers too late, and then what
        was there runs again."""
        if self._done is None:
            there = await self._known()
            ours = there.of(self._address)
            if not ours:
                raise ContainerError(Problem("its container is gone", Place(self._host.shown)), "no_such_container")
            self._done = _Done(current(ours, self._spec).id, False)
        await self._or_back(self._until_healthy())
        await self._settle()

    async def remove(self) -> None:
        """Stops and removes it, and all that runs which were cut short left of it."""
        there = await self._known()
        for one in there.of(self._address):
            await self._host.stop(one.id)
            await self._host.remove(one.id)

    @property
    def _wanted(self) -> ContainerSpec:
        assert self._spec is not None
        return self._spec

    async def _known(self) -> NodeContainers:
        there = await self.observe()
        if there.containers is None:
            what = there.reason or "its daemon could not be asked"
            raise ContainerError(Problem(what, Place(self._host.shown)), there.code or "unreachable")
        return there

    async def _fetch(self, progress: Progress) -> None:
        image = self._wanted.image
        if self._pull is PullPolicy.NEVER or (self._pull is PullPolicy.MISSING and await self._host.has_image(image)):
            return
        async for told in self._host.pull(image):
            progress(told.status, told.completed, told.total)

    async def _without_unfinished(self, ours: Sequence[ContainerFacts]) -> list[ContainerFacts]:
        """What is left of them once each that was made and never started is removed: a run that was cut short may have left it without
        its files, which nobody can see."""
        unfinished = [one for one in ours if one.state is ContainerState.CREATED and not one.adopted] if self._wanted.files else []
        for one in unfinished:
            await self._host.remove(one.id)
        return [one for one in ours if one not in unfinished]

    async def _go_on_with(self, now: ContainerFacts, others: list[ContainerFacts], restart: bool) -> None:
        """Goes on where a run was cut short, or starts what was stopped: nothing new is made. Of what else there is of it the one that ran
        is kept until this one answers."""
        spec = self._wanted
        old = next((one for one in others if one.state is not ContainerState.CREATED), None)
        for one in others:
            if one is not old:
                await self._host.remove(one.id)
        self._done = _Done(now.id, False, old, old is not None and old.state is not ContainerState.RUNNING)
        await self._or_back(self._resume(spec, now, old, restart))

    async def _resume(self, spec: ContainerSpec, now: ContainerFacts, old: ContainerFacts | None, restart: bool) -> None:
        if old is not None and (now.state is not ContainerState.RUNNING or now.name != spec.name):
            await self._out_of_the_way(old)
        if now.name != spec.name and not now.adopted:
            await self._host.rename(now.id, spec.name)
        if now.condition != "running" or restart:
            if now.state is not ContainerState.PENDING:  # what is to run already keeps its turn
                await self._host.stop(now.id)
            await self._host.start(now.id)

    async def _start(self, with_both: bool) -> None:
        done, spec = self._made, self._wanted
        if done.old is not None and not with_both:
            await self._out_of_the_way(done.old)
            await self._host.rename(done.new, spec.name)
        await self._host.start(done.new)

    async def _out_of_the_way(self, old: ContainerFacts) -> None:
        self._made.stopped = True
        await self._host.stop(old.id)
        if old.name == self._wanted.name or not (old.adopted or old.name == f"{self._wanted.name}{PREVIOUS}"):
            await self._host.rename(old.id, f"{self._wanted.name}{PREVIOUS}")
            self._made.renamed = True

    async def _until_healthy(self) -> None:
        loop, done = asyncio.get_running_loop(), self._made
        end = loop.time() + self._within
        watched = watched_env(self._wanted) if self._spec is not None else watched_env()
        first: int | None = None
        while True:
            now = await self._host.inspect(done.new, watched, self._fleet)
            if now is None:
                raise self._failed("it was removed by somebody else while it started")
            first = now.restarts if first is None else first
            crashed = now.restarts is not None and first is not None and now.restarts - first >= _CRASHES
            if crashed or now.state in (ContainerState.EXITED, ContainerState.DEAD):
                raise self._failed(f"it does not stay up: {now.condition}", await self._log())
            if now.state is ContainerState.RUNNING and (self._is_healthy is None or await self._is_healthy()):
                return
            if loop.time() >= end:
                how = "it runs and does not answer" if now.state is ContainerState.RUNNING else f"it is {now.condition}"
                raise self._failed(f"{how} {format_duration(self._within)} after its start", await self._log())
            await self._host.changed(done.new, self._poll)

    async def _settle(self) -> None:
        """What is there beside the new one goes, and it gets its name."""
        done = self._made
        there = await self._known()
        for one in there.of(self._address):
            if one.id != done.new:
                await self._host.stop(one.id)
                await self._host.remove(one.id)
        if any(one.id == done.new and one.name != self._wanted.name and not one.adopted for one in there.of(self._address)):
            await self._host.rename(done.new, self._wanted.name)

    async def _or_back(self, work: Awaitable[None]) -> None:
        try:
            await work
        except GpurecError as error:
            raise await self._brought_back(error) from error

    async def _brought_back(self, error: GpurecError) -> GpurecError:
        """The failure with what became of the rest: what this step made is removed, what it replaced runs again."""
        done, problem = self._made, error.problems[0]
        code, log = (error.code, error.log) if isinstance(error, ContainerError) else ("start_failed", ())
        if not log and done.made:
            log = await self._log()
        shown = f"; it wrote last: {' | '.join(log)}" if log and not any(line and line in problem.what for line in log[-1:]) else ""
        if done.made:
            with suppress(ContainerError):
                await self._host.remove(done.new)
        after = ""
        if done.old is not None and done.stopped:
            try:
                if not done.made:
                    await self._host.remove(done.new)
                now = f"{self._wanted.name}{PREVIOUS}" if done.renamed else done.old.name
                own = done.old.name if done.old.adopted else self._wanted.name
                if now != own:
                    await self._host.rename(done.old.id, own)
                await self._host.start(done.old.id)
                after = "; the one before it runs again"
            except ContainerError as second:
                after = f"; the one before it could not be brought back: {second.problems[0].what}"
        elif done.old is not None:
            after = "; the one before it still runs"
        return ContainerError(Problem(f"{problem.what}{shown}{after}", problem.where, problem.hint), code, log)

    async def _log(self) -> tuple[str, ...]:
        try:
            return await self._host.logs(self._made.new)
        except ContainerError:
            return ()

    @property
    def _made(self) -> _Done:
        assert self._done is not None
        return self._done

    def _failed(self, what: str, log: tuple[str, ...] = ()) -> ContainerError:
        return ContainerError(Problem(what, Place(self._host.shown)), "start_failed", log)


def adopts(row: AppliedResource | None, wanted: ContainerSpec | None) -> str:
    """By what a container is a resource's that its labels do not say so of: by the state where it knows the resource, else by the files."""
    if row is not None:
        return str(row.fields.get(ADOPTED, ""))
    return wanted.adopts if wanted is not None else ""


def adopted_field(address: str, wanted: ContainerSpec | None, found: ResourceFacts) -> Mapping[str, str]:
    """What the state keeps of a container that is a resource's without its labels."""
    ours = found.there.of(address) if found.there is not None else ()
    by = current(ours, wanted).adopted if ours else ""
    return {ADOPTED: by} if by else {}


def applied_container(row: AppliedResource) -> ContainerSpec | None:
    """The container as it was applied; None where the state does not tell, or another version of gpurec wrote it."""
    return _read(row.written) if row.written is not None else None


@lru_cache(maxsize=4096)
def _read(text: str) -> ContainerSpec | None:
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(ContainerSpec).validate_json(text, strict=True)
    except ValidationError:
        return None
