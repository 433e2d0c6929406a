"""Files of this machine and of nodes: looked at many at once, written whole or not at all, removed."""

from __future__ import annotations

import asyncio
import json
import os
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from reconciler.execution.actor import Progress
from reconciler.execution.kinds.file.places import FileHosts
from reconciler.execution.kinds.file.sealing import Sealer
from reconciler.execution.resource import ActorContext, Surroundings
from reconciler.fleet import LOCAL, AppliedResource, GpurecError, Problem, ResourceFacts, Scalar, parse_resource_address, resource_address
from reconciler.hosts import FileSeen, HostError
from reconciler.planning import Action, Step
from reconciler.planning.kinds.file import FileKind, FileStep
from reconciler.planning.kinds.file.kind import CONTENT, MODE, OWNER, RELOAD
from reconciler.planning.kinds.file.spec import ELSEWHERE, KIND, Destination, destinations, without_known_cards
from reconciler.planning.resource import owned

AT_ONCE = 32
"""Nodes that are looked at at the same time."""
_GONE = frozenset(("no_folder",))
"""Answers after which a file is not there."""


class FileActor:
    """For files of any mode, owner and content."""

    def __init__(self, context: ActorContext) -> None:
        self.kind = FileKind()
        self._places = FileHosts(context.root, context.fleet, context.keys)
        self._rows = context.applied.resources
        self._sealer = Sealer(context.keys)
        self._written: dict[str, FileSeen | HostError | None] = {}

    async def observe(self, around: Surroundings) -> Mapping[str, ResourceFacts]:
        places = destinations(around.desired, around.fleet, around.facts)
        self._refuse_own(places, around.state)
        self._refuse_one_in_two_places(places)
        wanted = {one.address for one in places}
        left = {address for address in owned(self.kind, around.applied) if address not in wanted}
        others = (resource_address(KIND, path, LOCAL) for path in ELSEWHERE.of(around.desired))
        entries = {self._entry(address) for address in (*wanted, *others)}
        found = {address: ResourceFacts(False) for address in left if self._entry(address) in entries}
        unsure = without_known_cards(around.desired, around.facts)
        asked: dict[str, list[str]] = defaultdict(list)
        for address in sorted((wanted | left) - found.keys()):
            _, path, node = parse_resource_address(address)
            row = around.applied.resources.get(address)
            if not self._places.knows(node):
                found[address] = ResourceFacts(False)
            elif node in unsure and address in left:
                found[address] = ResourceFacts(None, {}, "the cards of its node are not known, so nobody knows whether it is wanted")
            elif node != LOCAL and not around.asks(node):
                found[address] = ResourceFacts(True, row.fields) if row is not None else ResourceFacts(None, {}, "nodes are not asked")
            else:
                asked[node].append(path)
        at_once = asyncio.Semaphore(AT_ONCE)

        async def look(node: str, paths: list[str]) -> Mapping[str, ResourceFacts]:
            async with at_once:
                return await self._seen(node, paths)

        for seen in await asyncio.gather(*(look(node, paths) for node, paths in asked.items())):
            found.update(seen)
        return found

    async def look(self, step: Step) -> ResourceFacts:
        file = _file(step)
        return (await self._seen(file.node, [file.path], file.content))[file.address]

    async def act(self, step: Step, progress: Progress) -> None:
        file, places = _file(step), self._places
        host, path, sudo, within = (
            places.host(file.node),
            places.path(file.node, file.path),
            places.sudo(file.node),
            places.within(file.node),
        )
        if file.action is Action.REMOVE:
            await host.remove_file(path, within=within, sudo=sudo)
            return
        owner, content = file.after.get(OWNER), self._sealer.filled(file.content or "", file.address)
        self._written[file.address] = await host.write_file(
            path,
            content.encode(),
            within=within,
            mode=int(str(file.after[MODE]), 8),
            owner=owner if isinstance(owner, str) else None,
            validate=file.validate,
            sudo=sudo,
        )

    async def wait(self, step: Step) -> ResourceFacts:
        file = _file(step)
        if file.address not in self._written:
            return await self.look(step)
        return self._facts(self._written.pop(file.address), file.address, file.content)

    def applied(self, step: Step, found: ResourceFacts) -> AppliedResource:
        file = _file(step)
        fields = {name: value for name in (CONTENT, MODE, OWNER) if (value := step.after.get(name) or found.fields.get(name)) is not None}
        reload = {RELOAD: json.dumps(file.reload)} if file.reload else {}
        return AppliedResource(step.address, {**fields, **reload, **self._sealer.row_fields(file.content, file.address)}, file.content)

    async def aclose(self) -> None:
        """Nothing is left open: a connection of ssh is kept for a minute, for the next use."""

    def _refuse_own(self, places: Iterable[Destination], state: Path | None) -> None:
        """Nothing that gpurec itself reads or keeps is ever written."""
        kept = os.path.realpath(state) if state is not None else None
        for one in places:
            if one.node == LOCAL and kept is not None and os.path.realpath(self._places.path(LOCAL, one.path)) == kept:
                raise GpurecError(Problem(f"{one.path!r} is the state of this fleet", one.spec.place, "write it to another path"))
            if one.node == LOCAL and (folder := self._places.own_folder(one.path)) is not None:
                what = f"{one.path!r} is among the files that gpurec itself reads or keeps"
                raise GpurecError(Problem(what, one.spec.place, f"write it to another folder than {folder}/"))

    def _refuse_one_in_two_places(self, places: Iterable[Destination]) -> None:
        """Two names of one machine, such as `local` and a node that is this machine, must not both have a file."""
        first: dict[object, Destination] = {}
        for one in places:
            other = first.setdefault(self._entry(one.address), one)
            if other is not one:
                what = f"{one.address} and {other.address} are one file, the first declared at {other.spec.place}"
                raise GpurecError(Problem(what, one.spec.place, "keep one of the two"))

    def _entry(self, address: str) -> object:
        """The one place that an address names, its last part as it is. A file of this machine that left under one spelling and is wanted
        under another, by a link to its folder perhaps, is not there under the first any more: to remove it would remove the wanted one."""
        _, path, node = parse_resource_address(address)
        machine = self._places.machine(node) if self._places.knows(node) else node
        if machine != LOCAL:
            return (machine, path)
        entry = Path(self._places.path(node, path))
        return (machine, str(Path(os.path.realpath(entry.parent)) / entry.name))

    async def _seen(self, node: str, paths: Collection[str], text: str | None = None) -> Mapping[str, ResourceFacts]:
        places = self._places
        at = {path: places.path(node, path) for path in paths}
        try:
            seen = await places.host(node).look_at_files(list(at.values()), within=places.within(node), sudo=places.sudo(node))
        except HostError as error:
            return {resource_address(KIND, path, node): _unknown(error) for path in paths}
        return {address: self._facts(seen[at[path]], address, text) for path in paths if (address := resource_address(KIND, path, node))}

    def _facts(self, seen: FileSeen | HostError | None, address: str, text: str | None) -> ResourceFacts:
        if seen is None:
            return ResourceFacts(False)
        if isinstance(seen, HostError):
            return ResourceFacts(False) if seen.code in _GONE else _unknown(seen)
        content: Mapping[str, Scalar] = {CONTENT: "too large to be ours"}
        if seen.digest is not None:
            content = self._sealer.content_fields(seen.digest, self._rows.get(address), text)
        return ResourceFacts(True, {**content, MODE: f"{seen.mode:04o}", OWNER: seen.owner, "size": seen.size})


def _unknown(error: HostError) -> ResourceFacts:
    return ResourceFacts(None, {}, error.problems[0].what)


def _file(step: Step) -> FileStep:
    assert isinstance(step, FileStep)
    return step
