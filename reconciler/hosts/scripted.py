"""What both ways have in common: commands and files of a host that runs scripts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

from reconciler.hosts.bounded import LIMIT, Ran
from reconciler.hosts.files import (
    command_script,
    file_of,
    look_scripts,
    read_script,
    refuse_failed,
    remove_script,
    seen_files,
    write_script,
)
from reconciler.hosts.protocol import MOST_FILE, FileSeen, HostError, HostFile, host_error

_FUNCTION = "gpurec_do() {{\n{text}\n}}\ngpurec_do </dev/null\n"
"""A shell reads a function to its end before it runs it: nothing in it can read the rest, and half of a script does nothing."""


class ScriptedHost(ABC):
    """A host that can run a script. Subclasses say how one gets there."""

    def __init__(self, name: str) -> None:
        self._name = name

    @property
    def name(self) -> str:
        return self._name

    @abstractmethod
    async def _sh(self, shell: Sequence[str], text: str, within: float, limit: int) -> Ran:
        """Runs `shell`, which reads its script from stdin, with `text`. Raises HostError where it cannot be started or reached,
        or was cut."""

    async def script(self, text: str, *, within: float, limit: int = LIMIT, sudo: bool = False) -> Ran:
        shell = ("sudo", "-n", "--", "sh", "-s") if sudo else ("sh", "-s")
        return await self._sh(shell, _FUNCTION.format(text=text), within, limit)

    async def run(self, command: Sequence[str], *, within: float, given: bytes = b"", limit: int = LIMIT, sudo: bool = False) -> Ran:
        return await self.script(command_script(command, given), within=within, limit=limit, sudo=sudo)

    async def read_file(self, path: str, *, within: float, sudo: bool = False) -> HostFile | None:
        ran = await self.script(read_script(path), within=within, limit=2 * MOST_FILE, sudo=sudo)
        return file_of(ran, self.name, path)

    async def look_at_files(self, paths: Sequence[str], *, within: float, sudo: bool = False) -> Mapping[str, FileSeen | HostError | None]:
        found: dict[str, FileSeen | HostError | None] = {}
        for part, text in look_scripts(paths):
            found.update(seen_files(await self.script(text, within=within, sudo=sudo), self.name, part))
        return found

    async def write_file(
        self,
        path: str,
        content: bytes,
        *,
        within: float,
        mode: int = 0o644,
        owner: str | None = None,
        validate: Sequence[str] = (),
        sudo: bool = False,
    ) -> FileSeen | HostError | None:
        if len(content) > MOST_FILE:
            raise host_error("too_large", self.name, f"{path}: it would have more than {MOST_FILE // 2**20} MiB")
        ran = await self.script(write_script(path, content, mode, owner, validate), within=within, sudo=sudo)
        return seen_files(ran, self.name, [path])[path]

    async def remove_file(self, path: str, *, within: float, sudo: bool = False) -> None:
        refuse_failed(await self.script(remove_script(path), within=within, sudo=sudo), self.name, path)
