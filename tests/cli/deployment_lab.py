"""One of the deployments of docs/deployments.md, as its files say it, over its simulated machines on free ports."""

from __future__ import annotations

import json
import re
import shutil
import socket
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from cli_lab import POLL
from click.testing import CliRunner

from reconciler.cli.main import cli
from reconciler.cli.settings import Settings
from reconciler.sim import SimFleet, builtin_fleet, running

ROOT = Path(__file__).parent.parent.parent


def free_ports(count: int) -> list[int]:
    """Ports that nobody has."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]


class Deployment:
    """`ports` has for each port of the inventory the one that takes its place."""

    def __init__(self, name: str, fleet: SimFleet, root: Path, ports: Mapping[int, int]) -> None:
        self.name, self.fleet, self.root, self.ports = name, fleet, root, ports
        for folder in ("inventories", "desired", "rendered"):
            (root / folder).mkdir()
        inventory = (ROOT / "inventories" / f"{name}.yaml").read_text()
        for port, here in ports.items():
            inventory, count = re.subn(rf"\b{port}\b", str(here), inventory)
            assert count, port
        (root / "inventories" / f"{name}.yaml").write_text(inventory)
        self.declare()

    def declare(self) -> None:
        """The desired state as it is in the repository."""
        if (ROOT / "desired" / self.name).is_dir():
            shutil.copytree(ROOT / "desired" / self.name, self.root / "desired" / self.name, dirs_exist_ok=True)
            return
        self.write((ROOT / "desired" / f"{self.name}.yaml").read_text())

    def write(self, text: str) -> None:
        (self.root / "desired" / f"{self.name}.yaml").write_text(text)

    def edit(self, old: str, new: str) -> None:
        path = self.root / "desired" / f"{self.name}.yaml"
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    def run(self, *arguments: str, ends: int | None = 0) -> str:
        done = CliRunner().invoke(cli, ["-C", str(self.root), *arguments], obj=Settings(poll_seconds=POLL))
        assert ends is None or done.exit_code == ends, done.output
        return done.stdout

    def document(self, *arguments: str, ends: int | None = 0) -> dict:
        return json.loads(self.run(*arguments, "--format", "json", ends=ends))

    def plan(self) -> dict:
        return self.document("plan")

    def changes(self) -> list[str]:
        """What was sent to the engines that could change them."""
        return [f"{one.method} {one.path}" for engine in self.fleet.engines.values() for one in engine.requests if one.method != "GET"]


@contextmanager
def deployed(name: str, root: Path, ports: Mapping[int, int]) -> Iterator[Deployment]:
    """`ports` has ports of engines that are to run in containers; those of daemons and engines that run already are looked up."""
    spec = builtin_fleet(name)
    with running(spec.on_free_ports().with_time_scale(0)) as fleet:
        found = dict(ports)
        for node in spec.nodes:
            if node.docker is not None:
                found[node.docker.port] = fleet.daemons[node.name].port
            for engine in node.engines:
                found[engine.port] = fleet.engines[f"{node.name}/{engine.name}"].port
        yield Deployment(name, fleet, root, found)
