"""Files on the machine that gpurec runs on: read, written whole or not at all, removed."""

from __future__ import annotations

import getpass
import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

from reconciler.execution.actor import Progress
from reconciler.execution.resource import ActorContext, Surroundings
from reconciler.fleet import LOCAL, AppliedResource, ResourceFacts, parse_resource_address, resource_address
from reconciler.hosts import Host, HostError, ThisMachine
from reconciler.planning import Action, Step
from reconciler.planning.kinds.file import FILES, FileKind, FileStep
from reconciler.planning.kinds.file.kind import CONTENT, MODE, OWNER
from reconciler.planning.resource import owned

WITHIN = 30.0
"""Seconds that one file may take."""


class FileActor:
    """For files of any mode, owner and content."""

    def __init__(self, context: ActorContext) -> None:
        self.kind = FileKind()
        self._root = context.root
        self._host: Host = ThisMachine(LOCAL)

    async def observe(self, around: Surroundings) -> Mapping[str, ResourceFacts]:
        desired, applied = around.desired, around.applied
        wanted = {resource_address(self.kind.name, spec.to, LOCAL): self._entry(spec.to) for spec in FILES.of(desired)}
        respelled = {a for a in owned(self.kind, applied) if a not in wanted and self._entry(_path_of(a)) in wanted.values()}
        seen = {a: await self._seen(_path_of(a)) for a in sorted((set(wanted) | set(owned(self.kind, applied))) - respelled)}
        return seen | dict.fromkeys(respelled, ResourceFacts(False))

    async def look(self, step: Step) -> ResourceFacts:
        return await self._seen(_file(step).path)

    async def act(self, step: Step, progress: Progress) -> None:
        file, path = _file(step), self._path(_file(step).path)
        if file.action is Action.REMOVE:
            await self._host.remove_file(path, within=WITHIN)
        else:
            mode, owner = int(str(file.after[MODE]), 8), file.after.get(OWNER)
            content = (file.content or "").encode()
            await self._host.write_file(path, content, within=WITHIN, mode=mode, owner=_other_owner(owner))

    async def wait(self, step: Step) -> ResourceFacts:
        return await self.look(step)

    def applied(self, step: Step, found: ResourceFacts) -> AppliedResource:
        fields = {name: value for name in (CONTENT, MODE, OWNER) if (value := step.after.get(name) or found.fields.get(name)) is not None}
        return AppliedResource(step.address, fields, _file(step).content)

    async def aclose(self) -> None:
        """Nothing is left open."""

    def _entry(self, path: str) -> str:
        """The one place that a path names, its last part as it is. A file that left under one spelling and is wanted under another, by
        a link to its folder perhaps, is not there under the first any more: to remove it would remove the wanted one."""
        entry = Path(self._path(path))
        return str(Path(os.path.realpath(entry.parent)) / entry.name)

    def _path(self, path: str) -> str:
        return str((self._root / path).absolute())

    async def _seen(self, path: str) -> ResourceFacts:
        try:
            found = await self._host.read_file(self._path(path), within=WITHIN)
        except HostError as error:
            if error.code == "no_folder":
                return ResourceFacts(False)
            return ResourceFacts(None, {}, error.problems[0].what)
        if found is None:
            return ResourceFacts(False)
        digest = f"sha256:{hashlib.sha256(found.content).hexdigest()}"
        return ResourceFacts(True, {CONTENT: digest, MODE: f"{found.mode:04o}", OWNER: found.owner, "size": len(found.content)})


def _file(step: Step) -> FileStep:
    assert isinstance(step, FileStep)
    return step


def _path_of(address: str) -> str:
    return parse_resource_address(address)[1]


def _other_owner(owner: object) -> str | None:
    """Whom a file is to be given to; None where whoever writes it has it anyway."""
    return owner if isinstance(owner, str) and owner != getpass.getuser() else None
