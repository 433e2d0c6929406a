"""A socket of another host as one of this machine, by the system's ssh: `ssh -L LOCAL:REMOTE`.

The remote command only waits for the end of its input, so that ssh ends with this process however that ends.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from urllib.parse import SplitResult

from reconciler.containers.leading import ends_on
from reconciler.containers.protocol import ContainerError
from reconciler.containers.wire import Wire, failed
from reconciler.fleet import NodeSpec
from reconciler.hosts import OverSsh, Ran, SshClient

SOCKET = "/var/run/docker.sock"
_LOOK = 0.02
_MOST_SAID = 64 * 1024
_WAITS = "cat >/dev/null"
Connect = Callable[[str], Wire]


class SshTunnel:
    """One forwarded socket, made when it is first used and again where it ended. `connect` speaks HTTP over a socket of this machine."""

    def __init__(self, node: NodeSpec, url: SplitResult, client: SshClient, connect: Connect, shown: str) -> None:
        self.shown = shown
        self._node = _reached_by(node, url)
        self._remote = url.path if len(url.path) > 1 else SOCKET
        self._client = client
        self._connect = connect
        self._process: asyncio.subprocess.Process | None = None
        self._folder: Path | None = None
        self._wire: Wire | None = None

    async def open(self) -> Wire:
        if self._wire is not None and self._process is not None and self._process.returncode is None:
            return self._wire
        await self.aclose()
        self._folder = Path(tempfile.mkdtemp(prefix="gpurec-"))
        local = self._folder / "docker.sock"
        try:
            self._process = await self._started(local)
            await self._listening(self._process, local)
        except BaseException:
            await self.aclose()
            raise
        self._wire = self._connect(str(local))
        return self._wire

    async def ends_of(self, paths: Sequence[str]) -> Mapping[str, str]:
        return await ends_on(OverSsh(self._node, self._client), paths, self._node.probe.timeout)

    async def aclose(self) -> None:
        if self._wire is not None:
            await self._wire.aclose()
        if self._process is not None:
            if self._process.stdin is not None:
                self._process.stdin.close()
            if self._process.returncode is None:
                with suppress(ProcessLookupError):
                    self._process.kill()
                await self._process.wait()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
        self._wire = self._process = self._folder = None

    async def _started(self, local: Path) -> asyncio.subprocess.Process:
        command = self._client.forwarding(self._node, f"{local}:{self._remote}", _WAITS)
        try:
            return await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
                env=self._client.environ,
                start_new_session=True,
            )
        except FileNotFoundError:
            raise failed("no_ssh", self.shown, "there is no ssh on this machine", "install openssh-client") from None
        except OSError as error:
            raise failed("ssh_failed", self.shown, f"ssh cannot be started: {os.strerror(error.errno or 0).lower()}") from None

    async def _listening(self, process: asyncio.subprocess.Process, local: Path) -> None:
        """Returns once the local socket takes connections. ssh makes it after it has logged in, and listens at it a moment later."""
        try:
            async with asyncio.timeout(self._node.probe.timeout):
                while not is_listening(str(local)):
                    if process.returncode is not None:
                        raise await self._refusal(process)
                    await asyncio.sleep(_LOOK)
        except TimeoutError:
            raise failed(
                "timeout", self.shown, f"ssh did not log in within {self._node.probe.timeout:.3g} s", "raise probe.timeout"
            ) from None

    async def _refusal(self, process: asyncio.subprocess.Process) -> ContainerError:
        said = await process.stderr.read(_MOST_SAID) if process.stderr is not None else b""
        found = OverSsh(self._node, self._client).refusal(Ran(process.returncode, b"", self._client.clean(said)))
        return ContainerError(found.problems[0], found.code)


def is_listening(path: str) -> bool:
    """Whether somebody takes connections at a socket file of this machine."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.setblocking(False)
        try:
            connection.connect(path)
        except BlockingIOError:
            return True  # there are many that wait to be taken
        except OSError:
            return False
    return True


def _reached_by(node: NodeSpec, url: SplitResult) -> NodeSpec:
    """The node as its docker url says that ssh reaches it; the keys and jump hosts of its probe hold for it too."""
    host = url.hostname or node.address
    same = host == node.address.lower()
    probe = replace(
        node.probe, user=url.username or (node.probe.user if same else None), port=url.port or (node.probe.port if same else None)
    )
    return replace(node, address=node.address if same else host, probe=probe)
