"""Server processes on loopback: started with a clean environment and a log of their own, ended with everything they started."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import httpx
from waiting import wait_until

LOOPBACK = "127.0.0.1"
STOP_SECONDS = 15.0
LOG_TAIL = 4000
KEPT_VARIABLES = ("PATH", "LANG", "TMPDIR")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


class Process:
    """One server in a process group of its own. `home` is its HOME and holds `NAME.log`."""

    def __init__(self, name: str, command: Sequence[str | Path], home: Path, environment: Mapping[str, str] | None = None) -> None:
        self.name = name
        self.log = home / f"{name}.log"
        home.mkdir(parents=True, exist_ok=True)
        kept = {variable: os.environ[variable] for variable in KEPT_VARIABLES if variable in os.environ}
        with self.log.open("ab") as log:
            self._child = subprocess.Popen(
                [str(word) for word in command],
                env={**kept, "HOME": str(home), **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def status(self) -> int | None:
        """The exit status; None while it runs."""
        return self._child.poll()

    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def tail(self) -> str:
        return f"--- {self.name} (status {self.status}), end of {self.log}\n{self.said()[-LOG_TAIL:]}"

    def stop(self) -> None:
        """SIGTERM to the group, SIGKILL to what is left of it. Nothing happens when it has ended already."""
        self._signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            self._child.wait(STOP_SECONDS)
        self.kill()

    def kill(self) -> None:
        """SIGKILL to the whole group, as a machine would lose it."""
        self._signal(signal.SIGKILL)
        self._child.wait(STOP_SECONDS)

    def kill_children(self) -> None:
        """SIGKILL to the processes that it has started itself: it lives on without them."""
        listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(self.pid)], capture_output=True, text=True, check=True).stdout
        for pid in listed.split():
            os.kill(int(pid), signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._child.pid, number)


class HttpServer:
    """A server that is reached at `url`. Subclasses start `process` and say what answer means that it is ready."""

    process: Process
    ready_path = "/health"
    ready_seconds = 60.0

    def __init__(self, port: int) -> None:
        self.port = port
        self.url = f"http://{LOOPBACK}:{port}"
        self.client = httpx.Client(base_url=self.url, timeout=120.0, trust_env=False)

    def start(self) -> None:
        """Starts it, again after `kill` on the same port with the same files: it remembers no resident."""
        raise NotImplementedError

    def kill(self) -> None:
        """Ends it as a crash would."""
        self.process.kill()

    def restart(self) -> None:
        self.kill()
        self.start()

    def await_ready(self) -> None:
        """Returns when the server answers; fails with its log when it ended or stays silent."""

        def ready() -> bool:
            assert self.process.status is None, f"{self.process.name} ended before it was ready\n{self.process.tail()}"
            try:
                return self.client.get(self.ready_path, timeout=5.0).status_code == httpx.codes.OK
            except httpx.TransportError:
                return False

        try:
            wait_until(ready, self.ready_seconds, f"{self.process.name} answers {self.ready_path}")
        except AssertionError:
            self.stop()
            raise

    def stop(self) -> None:
        self.client.close()
        self.process.stop()
