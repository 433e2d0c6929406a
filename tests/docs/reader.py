"""Who follows a page of the docs: writes its files, types its commands, and holds what it shows against what is printed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from pages import Block

from reconciler.cli.commands.init import _host_name
from reconciler.sim import SimFleet, SimSpec

ENDLESS = re.compile(r"gpurec (?:watch|serve)\b(?!.* --once)")
"""Commands that go on until they are stopped."""


class Reader:
    """`at` is the folder where the next command is typed; `replaced` are words of pages that stand for others here."""

    def __init__(self, root: Path, spec: SimSpec, fleet: SimFleet, replaced: Mapping[str, str] | None = None) -> None:
        self.root = self.at = root
        self.fleet = fleet
        self.called = "gpu-a"
        self._replaced = replaced or {}
        named = [(asked.port, f"{node.name}/{asked.name}") for node in spec.nodes for asked in node.engines]
        self.ports = {str(port): fleet.engines[engine].url.rsplit(":", 1)[1] for port, engine in named}
        kept = {name: value for name, value in os.environ.items() if not name.startswith("GPUREC_")}
        path = f"{Path(sys.executable).parent}:{kept['PATH']}"
        self.environ = {**kept, "PATH": path, "NO_COLOR": "1"}
        self.answers: Mapping[str, str] = {}
        """Commands that ask on a terminal, and what says yes here."""

    def here(self, text: str) -> str:
        """A text of a page with the addresses of the machines of this test."""
        for word, other in self._replaced.items():
            text = text.replace(word, other)
        text = text.replace("//gpu-a:", "//127.0.0.1:").replace("--host gpu-a", "--host 127.0.0.1 --port 11434")
        listening = rf"(//127\.0\.0\.1:|--port |port: )({'|'.join(self.ports)})\b"
        return re.sub(listening, lambda found: found[1] + self.ports[found[2]], text)

    def follow(self, page: Iterable[Block]) -> None:
        for block in page:
            if block.file is not None:
                self.write(*block.file)
            if block.reason is None:
                for command, shown in block.commands():
                    self.type(command, shown)

    def write(self, path: str, text: str) -> None:
        file = self.at / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(self.here(text))

    def type(self, command: str, shown: list[str]) -> None:
        """Runs a command; its status is 0, or what the page says behind it (`# exit status 2`, or `# 2 when …`)."""
        always, sometimes = re.search(r"# exit status (\d+)", command), re.search(r"# (\d+) when ", command)
        allowed = {int(always[1])} if always else {0, int(sometimes[1])} if sometimes else {0}
        if "--host gpu-a" in command:
            self.called = _host_name()  # init names this machine so
        command = self.answers.get(command, command)
        status, output = (self._run_endless if ENDLESS.match(command) else self._run)(self.here(command))
        assert status in allowed, f"{command}\n{output}"
        lines = [_plain(line) for line in output.splitlines()]
        for line in shown:
            wanted = _plain(self.here(line).replace("@gpu-a/", f"@{self.called}/"))
            while lines and not lines[0].startswith(wanted):
                del lines[0]
            assert lines, f"{command} does not show {line!r}, or not in this order:\n{output}"

    def _run(self, command: str) -> tuple[int, str]:
        done = subprocess.run(
            ["bash", "-c", f"{command}\nstatus=$?; pwd > {self.root}/.at; exit $status"],
            cwd=self.at,
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        self.at = Path((self.root / ".at").read_text().strip())
        return done.returncode, done.stdout + done.stderr

    def _run_endless(self, command: str) -> tuple[int, str]:
        """Until it has told that it looked, and then as SIGTERM ends it; a service listens on a port that nobody has."""
        command = re.sub(r"^gpurec serve(?!.* --listen)", "gpurec serve --listen 127.0.0.1:0", command)
        command = re.sub(r"^gpurec \w+", r"exec \g<0> -v", command)
        with subprocess.Popen(
            ["bash", "-c", command], cwd=self.at, env=self.environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process:
            assert process.stdout is not None
            told = ""
            while "Looked" not in told:
                line = process.stdout.readline()
                assert line, f"{command}\n{told}"
                told += line
            process.send_signal(signal.SIGTERM)
            rest, _ = process.communicate(timeout=60)
        return process.returncode, told + rest


def _plain(line: str) -> str:
    """A line without what is another at every run: spaces, digests, times and durations."""
    line = re.sub(r"sha256:([0-9a-f]{64}|…)", "sha256:…", line)
    line = re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+Z", "TIME", line)
    line = re.sub(r"\b\d+(\.\d+)?m?s\b", "…s", line)
    return " ".join(line.split())
