"""A workspace for a simulated fleet, and `gpurec` run in it: as a call, and as a process of its own."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import httpx
from click.testing import CliRunner, Result

from reconciler.cli.commands.sim_server import inventory_of
from reconciler.cli.main import cli
from reconciler.cli.settings import Settings
from reconciler.sim import SimFleet, SimSpec, running

SMALL = "version: 1\nmodels:\n  nomic-embed-text: {engine: ollama, on: ollama, each: node, vram: 350MiB}\n"
POLL = 0.02
"""Seconds between looks at servers whose loads take no time."""


def undated(text: str) -> str:
    """A plan as text without what is another at every run: its digest (over ports too) and its time."""
    return re.sub(r"\nsha256:[0-9a-f]{64}\nmade \S+,", "\nsha256:…\nmade …,", text)


def gpurec(*arguments: str, **streams: int) -> subprocess.Popen[str]:
    """`gpurec` in a process of its own, its output in pipes unless `streams` says otherwise."""
    command = [sys.executable, "-m", "reconciler.cli.main", *arguments]
    return subprocess.Popen(command, text=True, **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams})


@dataclass
class Lab:
    """A simulated fleet and a workspace for it."""

    fleet: SimFleet
    root: Path

    def run(self, *arguments: str) -> Result:
        return CliRunner().invoke(cli, ["-C", str(self.root), *arguments], obj=Settings(poll_seconds=POLL))

    def want(self, text: str) -> None:
        (self.root / "desired" / "demo.yaml").write_text(text)

    def process(self, *arguments: str, **streams: int) -> subprocess.Popen[str]:
        """The command in a process of its own, in this workspace."""
        return gpurec("-C", str(self.root), *arguments, **streams)

    @property
    def state(self) -> Path:
        return self.root / "state" / "demo.db"

    def sent(self) -> list[str]:
        """What was sent that could change a server, since the log was emptied."""
        return [f"{r.method} {r.path}" for engine in self.fleet.engines.values() for r in engine.requests if r.method != "GET"]


@contextmanager
def served(spec: SimSpec, root: Path) -> Iterator[Lab]:
    """A lab of a fleet on free ports, in an empty folder."""
    with running(spec.on_free_ports()) as fleet:
        lab = Lab(fleet, root)
        for folder in ("inventories", "desired"):
            (root / folder).mkdir()
        (root / "inventories" / "demo.yaml").write_text(inventory_of(fleet))
        lab.want(SMALL)
        yield lab


SECRETS = {"READER": "reader-secret", "OPS": "ops-secret", "PAY": "pay-secret"}
"""What the tokens of a service's policy refer to."""
OPS = {"Authorization": "Bearer ops-secret"}


class HasRoot(Protocol):
    @property
    def root(self) -> Path: ...


@contextmanager
def serving(lab: HasRoot, *arguments: str, until: str = "looked") -> Iterator[httpx.Client]:
    """A client of a service that has looked once, or logged the type `until`; the service ends with 0."""
    command = [
        sys.executable,
        "-m",
        "reconciler",
        "-C",
        str(lab.root),
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--log",
        "json",
        "-v",
        *arguments,
    ]
    environ = os.environ | SECRETS
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environ) as process:
        assert process.stdout is not None
        url, come = None, False
        while not (url and come):
            line = process.stdout.readline()
            assert line, process.stderr.read() if process.stderr else ""
            document = json.loads(line)
            url = document.get("url", url)
            come = come or document["type"] == until
        try:
            with httpx.Client(base_url=url, trust_env=False, timeout=30) as client:
                yield client
        finally:
            process.send_signal(signal.SIGTERM)
            _, errors = process.communicate(timeout=30)
        assert process.returncode == 0, errors
