"""Engines that systemd runs: a unit file or a drop-in, written through the node's host, and `systemctl`, by lists."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from reconciler.engines.foreign_text import clean_text
from reconciler.engines.keys import Keys
from reconciler.engines.secrets import read_secret
from reconciler.fleet import GpurecError, Place, Problem, ResourceFacts, UnitScope, UnitSpec, format_duration
from reconciler.hosts import Host, HostError, HostFile, Ran
from reconciler.planning.kinds.engine.fields import CONTENT, ENABLED, HEALTHY, RUNTIME, STATE, SYSTEMD, UNIT

WITHIN = 30.0
"""Seconds that one command may take; a stop waits for the unit's own TimeoutStopSec."""
STOPS_WITHIN = 120.0
LAST_LINES = 20
CRASHES = 2
"""A program that systemd started anew so often before it answered once will not come up."""
_SHOWN = ("LoadState", "ActiveState", "SubState", "UnitFileState", "FragmentPath", "NRestarts", "ExecMainStatus")
_SYSTEM_FOLDER = "/etc/systemd/system"
_RUNNING = {"active": "running", "reloading": "running"}
IsHealthy = Callable[[], Awaitable[bool]]


class SystemdUnitError(GpurecError):
    """A unit could not be written, or does not run. `code` is a word such as `start_failed`, `no_systemd`, `taken`."""

    def __init__(self, problem: Problem, code: str) -> None:
        super().__init__(problem)
        self.code = code


@dataclass(slots=True)
class _Before:
    """What was there when a change began, to be brought back: the unit's text and the file of its secrets, None where there was none."""

    text: bytes | None = None
    secrets: bytes | None = None
    ran: bool = False
    wrote: bool = False


@dataclass(slots=True)
class UnitWork:
    """One unit of one step. `sudo`: files and commands of the system's scope need root, and gpurec is not it there. `keys` learns the
    secrets that are written, so that no message brings one back. `began` is when its change began, by the loop's clock."""

    host: Host
    spec: UnitSpec
    sudo: bool
    is_healthy: IsHealthy
    within: float
    poll: float
    keys: Keys
    began: float | None = None
    _before: _Before = field(default_factory=_Before)
    _folder: str | None = None

    async def look(self, healthy: bool | None, *, leaves: bool = False) -> ResourceFacts:
        """What is there of it. What cannot be asked makes it unknown. Of one that `leaves` the file of its secrets alone is there too."""
        try:
            shown = await self._show()
            folder = await self.folder()
            found = await self.host.read_file(self.spec.path(folder), within=WITHIN, sudo=self._sudo)
            gone = found is None or not self._ours(found.content)
            if gone and leaves and self.spec.secrets:
                secrets = await self.host.read_file(self.spec.secrets_path(folder), within=WITHIN, sudo=self._sudo)
                if secrets is not None:
                    return ResourceFacts(True, {RUNTIME: SYSTEMD, UNIT: self.spec.name})
        except (HostError, SystemdUnitError) as error:
            return ResourceFacts(None, {}, error.problems[0].sentence())
        if found is None or gone:
            return ResourceFacts(False, {}, self._taken(shown, found is not None))
        state = _RUNNING.get(shown.get("ActiveState", ""), shown.get("ActiveState") or None)
        if state == "failed" and shown.get("ExecMainStatus", "0") != "0":
            state = f"failed ({shown['ExecMainStatus']})"
        fields = {
            RUNTIME: SYSTEMD,
            UNIT: self.spec.name,
            CONTENT: f"sha256:{hashlib.sha256(found.content).hexdigest()}",
            STATE: state,
            ENABLED: shown.get("UnitFileState", "").startswith("enabled") if not self.spec.drop_in else True,
            HEALTHY: healthy if state == "running" else None,
        }
        return ResourceFacts(True, fields)

    async def make(self) -> None:
        """Writes it and starts it anew. Raises GpurecError; then what was there runs again."""
        spec, folder = self.spec, await self.folder()
        path = spec.path(folder)
        shown, found = await self._show(), await self.host.read_file(path, within=WITHIN, sudo=self._sudo)
        if (found is None or not self._ours(found.content)) and (taken := self._taken(shown, found is not None)) is not None:
            raise SystemdUnitError(Problem(taken, Place(self.host.name)), "taken")
        self.began = asyncio.get_running_loop().time()
        values = {name: read_secret(ref, spec.address) for name, ref in sorted(spec.secrets.items())}
        for value in values.values():
            self.keys.add(value)
        secrets = "".join(f"{name}={_quoted(value)}\n" for name, value in values.items())
        kept = await self.host.read_file(spec.secrets_path(folder), within=WITHIN, sudo=self._sudo)
        self._before = _Before(_content(found), _content(kept), shown.get("ActiveState") in _RUNNING)
        try:
            await self._make_folder(path)
            self._before.wrote = True
            await self._write_secrets(folder, secrets.encode() or None)
            await self.host.write_file(path, spec.written.encode(), within=WITHIN, sudo=self._sudo)
            await self._systemctl("daemon-reload")
            if not spec.drop_in:
                await self._systemctl("enable", spec.service)
            await self._systemctl("restart", spec.service, within=STOPS_WITHIN)
        except GpurecError as error:
            raise await self._brought_back(error) from error

    async def wait(self) -> None:
        """Until it answers. Raises GpurecError where it fails or answers too late; then what was there runs again."""
        loop = asyncio.get_running_loop()
        end, first = loop.time() + self.within, None
        while True:
            shown = await self._show()
            state, restarts = shown.get("ActiveState"), _number(shown.get("NRestarts"))
            first = restarts if first is None else min(first, restarts)
            crashes = restarts - first >= CRASHES
            if state == "active" and not crashes and await self.is_healthy():
                return
            late = loop.time() >= end
            if state == "failed" or crashes or late:
                how = f"{self.spec.service} is {state}" if state != "active" else f"{self.spec.service} runs and does not answer"
                how = f"{self.spec.service} does not stay up" if crashes else how
                when = f" {format_duration(self.within)} after its start" if late else ""
                log = await self._log()
                wrote = f"; it wrote last: {' | '.join(log)}" if log else ""
                error = SystemdUnitError(Problem(f"{how}{when}{wrote}", Place(self.host.name)), "start_failed")
                raise await self._brought_back(error) from error
            await asyncio.sleep(self.poll)

    async def remove(self) -> None:
        """Stops it and takes away what gpurec wrote of it; somebody else's unit goes on without its drop-in. Where its file is gone
        already, or somebody else's by now, its secrets go all the same."""
        spec, folder = self.spec, await self.folder()
        found = await self.host.read_file(spec.path(folder), within=WITHIN, sudo=self._sudo)
        if found is None or not self._ours(found.content):
            await self._write_secrets(folder, None)
            return
        if not spec.drop_in:
            await self._systemctl("disable", "--now", spec.service, within=STOPS_WITHIN)
        await self._take_away(folder)
        await self._systemctl("daemon-reload")
        if spec.drop_in:
            await self._systemctl("try-restart", spec.service, within=STOPS_WITHIN)

    async def folder(self) -> str:
        """Where units of its scope are."""
        if self.spec.scope is UnitScope.SYSTEM:
            return _SYSTEM_FOLDER
        if self._folder is None:
            ran = await self.host.script('printf %s "$HOME"', within=WITHIN)
            home = ran.out.decode("utf-8", "replace")
            if ran.code != 0 or not home.startswith("/"):
                raise SystemdUnitError(Problem("its user has no home folder for units", Place(self.host.name)), "no_systemd")
            self._folder = f"{home}/.config/systemd/user"
        return self._folder

    @property
    def _sudo(self) -> bool:
        return self.sudo and self.spec.scope is UnitScope.SYSTEM

    def _ours(self, content: bytes) -> bool:
        return self.spec.is_ours(content.decode("utf-8", "replace"))

    def _taken(self, shown: Mapping[str, str], there: bool) -> str | None:
        """Whose its name is, where it is not free; for a drop-in, that there is no unit which it could be laid over."""
        name = self.spec.service
        if there:
            return f"{name} is a unit that gpurec did not write: name this one otherwise"
        loaded = shown.get("LoadState") == "loaded"
        if self.spec.drop_in:
            return None if loaded else f"there is no unit {name}, and no `exec` to make one of: add `exec: [/PATH]`"
        where = shown.get("FragmentPath") or "elsewhere"
        return f"{name} is a unit of somebody else's ({where}): name this one otherwise, or leave `exec` out" if loaded else None

    async def _brought_back(self, error: GpurecError) -> GpurecError:
        before, problem = self._before, error.problems[0]
        code = getattr(error, "code", "start_failed")
        after = ""
        if before.wrote:
            try:
                folder = await self.folder()
                if before.text is None:
                    if not self.spec.drop_in:
                        await self._systemctl("disable", "--now", self.spec.service, within=STOPS_WITHIN)
                    await self._take_away(folder)
                    await self._systemctl("daemon-reload")
                    if self.spec.drop_in:
                        await self._systemctl("restart", self.spec.service, within=STOPS_WITHIN)
                else:
                    await self._write_secrets(folder, before.secrets)
                    await self.host.write_file(self.spec.path(folder), before.text, within=WITHIN, sudo=self._sudo)
                    await self._systemctl("daemon-reload")
                    if before.ran:
                        await self._systemctl("restart", self.spec.service, within=STOPS_WITHIN)
                        after = "; the one before it runs again"
            except GpurecError as second:
                after = f"; what was there before could not be brought back: {second.problems[0].what}"
        return SystemdUnitError(Problem(f"{problem.what}{after}", problem.where, problem.hint), code)

    async def _take_away(self, folder: str) -> None:
        await self._write_secrets(folder, None)  # first: while the unit's file is there, a removal that was cut short is begun again
        await self.host.remove_file(self.spec.path(folder), within=WITHIN, sudo=self._sudo)

    async def _write_secrets(self, folder: str, content: bytes | None) -> None:
        path = self.spec.secrets_path(folder)
        if content is None:
            await self.host.remove_file(path, within=WITHIN, sudo=self._sudo)
        else:
            await self.host.write_file(path, content, within=WITHIN, mode=0o600, sudo=self._sudo)

    async def _make_folder(self, path: str) -> None:
        folders = [path.rpartition("/")[0]]
        if self.spec.secrets:
            folders.append(self.spec.secrets_path(await self.folder()).rpartition("/")[0])
        ran = await self.host.run(("mkdir", "-p", "--", *dict.fromkeys(folders)), within=WITHIN, sudo=self._sudo)
        if ran.code != 0:
            raise self._failed("mkdir", ran)

    async def _show(self) -> Mapping[str, str]:
        ran = await self.host.run(self._command("show", self.spec.service, "--property", ",".join(_SHOWN)), within=WITHIN)
        if ran.code != 0:
            raise self._failed("systemctl show", ran)
        lines = (line.partition("=") for line in ran.out.decode("utf-8", "replace").splitlines()[:100])
        return {name: clean_text(value) for name, separator, value in lines if separator}

    async def _systemctl(self, *words: str, within: float = WITHIN) -> None:
        ran = await self.host.run(self._command(*words), within=within, sudo=self._sudo)
        if ran.code != 0:
            raise self._failed(f"systemctl {words[0]}", ran)

    def _command(self, *words: str) -> Sequence[str]:
        return ("systemctl", *self._scope, "--no-pager", *words)

    @property
    def _scope(self) -> tuple[str, ...]:
        return ("--user",) if self.spec.scope is UnitScope.USER else ()

    async def _log(self) -> tuple[str, ...]:
        command = ("journalctl", *self._scope, "--unit", self.spec.service, "--lines", str(LAST_LINES), "--output", "cat", "--no-pager")
        try:
            ran = await self.host.run(command, within=WITHIN, sudo=self._sudo)
        except HostError:
            return ()
        lines = ran.out.decode("utf-8", "replace").splitlines()[-LAST_LINES:]
        return tuple(clean_text(line) for line in lines if line.strip()) if ran.code == 0 else ()

    def _failed(self, what: str, ran: Ran) -> SystemdUnitError:
        said = clean_text((ran.err or ran.out).decode("utf-8", "replace").strip())
        code = "no_systemd" if "connect to bus" in said or "not been booted" in said else "start_failed"
        hint = "see that its user has a session (loginctl enable-linger)" if code == "no_systemd" and self._scope else None
        told = f"{what} of {self.spec.service} failed ({ran.code}): {said or 'it says nothing'}"
        return SystemdUnitError(Problem(told, Place(self.host.name), hint), code)


def _content(file: HostFile | None) -> bytes | None:
    return file.content if file is not None else None


def _number(text: str | None) -> int:
    return int(text) if text is not None and text.isascii() and text.isdigit() and len(text) < 10 else 0


def _quoted(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$").replace("`", "\\`") + '"'
