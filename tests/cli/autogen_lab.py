"""A workspace of deployment B over a simulated Docker host."""

from __future__ import annotations

import json
import shutil
import socket
from pathlib import Path

import httpx
from cli_lab import POLL
from click.testing import CliRunner

from reconciler.cli.main import cli
from reconciler.cli.settings import Settings
from reconciler.sim import SimFleet

ROOT = Path(__file__).parent.parent.parent


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


class Autogen:
    def __init__(self, fleet: SimFleet, root: Path) -> None:
        self.root, self.daemon = root, fleet.daemons["gpu-1"]
        for folder in ("inventories", "desired"):
            (root / folder).mkdir()
        inventory = (ROOT / "inventories" / "autogen.yaml").read_text()
        for port, here in ((23375, self.daemon.port), (23434, free_port()), (23435, free_port())):
            inventory = inventory.replace(str(port), str(here))
        (root / "inventories" / "autogen.yaml").write_text(inventory)
        shutil.copy(ROOT / "desired" / "autogen.yaml", root / "desired")

    def run(self, *arguments: str, ends: int = 0) -> str:
        done = CliRunner().invoke(cli, ["-C", str(self.root), *arguments], obj=Settings(poll_seconds=POLL))
        assert done.exit_code == ends, done.output
        return done.stdout

    def plan(self, ends: int = 0) -> dict:
        return json.loads(self.run("plan", "--format", "json", ends=ends))

    def change(self, old: str, new: str) -> None:
        path = self.root / "desired" / "autogen.yaml"
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))

    def docker(self, method: str, path: str) -> httpx.Response:
        return httpx.request(method, f"http://127.0.0.1:{self.daemon.port}{path}")

    def container(self, name: str) -> dict:
        return self.docker("GET", f"/containers/autogen-{name}/json").json()
