"""A node that was renamed: what runs there bears its old address, and is found by that until it is made anew."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_lab import POLL
from click.testing import CliRunner

from reconciler.cli.main import cli
from reconciler.cli.settings import Settings
from reconciler.sim import SimFleet, builtin_fleet, running

ROOT = Path(__file__).parent.parent.parent


class Lab:
    def __init__(self, fleet: SimFleet, root: Path) -> None:
        self.root, self.daemon = root, fleet.daemons["dora"]
        for folder in ("inventories", "desired"):
            (root / folder).mkdir()
        text = (ROOT / "inventories" / "containers.yaml").read_text()
        for port, here in ((22375, self.daemon.port), (22376, fleet.daemons["emil"].port), (22436, free_port()), (22437, free_port())):
            text = text.replace(str(port), str(here))
        self.inventory = root / "inventories" / "containers.yaml"
        self.inventory.write_text(text)
        (root / "desired" / "containers.yaml").write_text((ROOT / "desired" / "containers.yaml").read_text())

    def run(self, *arguments: str, ends: int = 0) -> str:
        done = CliRunner().invoke(cli, ["-C", str(self.root), *arguments], obj=Settings(poll_seconds=POLL))
        assert done.exit_code == ends, done.output
        return done.stdout

    def steps(self) -> list[str]:
        return [f"{step['action']} {step['address']}" for step in json.loads(self.run("plan", "--format", "json"))["steps"]]

    def rename(self, old: str, new: str) -> None:
        for path in (self.inventory, self.root / "desired" / "containers.yaml"):
            path.write_text(path.read_text().replace(old, new))

    def containers(self) -> dict[str, str]:
        return {one.name: one.id for one in self.daemon.containers}


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with running(builtin_fleet("containers").on_free_ports().with_time_scale(0)) as fleet:
        found = Lab(fleet, tmp_path)
        found.run("apply", "--auto-approve")
        yield found


def test_its_engines_run_on_and_an_agent_which_is_told_its_node_is_replaced(lab: Lab) -> None:
    before = lab.containers()
    lab.rename("dora", "dorothea")
    lab.run("state", "mv", "dora", "dorothea")
    assert lab.steps() == ["adopt engine.dorothea/ollama", "update agent.analyst@dorothea"]
    lab.run("apply", "--auto-approve")
    after = lab.containers()
    assert set(after) == set(before)
    assert after["containers-ollama"] == before["containers-ollama"]
    assert lab.steps() == []


def test_an_engine_of_it_is_replaced_and_removed_as_any_other(lab: Lab) -> None:
    before = lab.containers()
    lab.rename("dora", "dorothea")
    lab.run("state", "mv", "dora", "dorothea")
    lab.run("apply", "--auto-approve")
    lab.inventory.write_text(
        lab.inventory.read_text().replace("runtime: container", "env: {OLLAMA_NUM_PARALLEL: 2}, runtime: container", 1)
    )
    assert "update engine.dorothea/ollama" in lab.steps()
    lab.run("apply", "--auto-approve")
    assert lab.containers()["containers-ollama"] != before["containers-ollama"]
    assert lab.steps() == []
    (lab.root / "desired" / "containers.yaml").write_text("version: 1\nmodels: {}\n")
    lab.rename("engines:\n        ollama: {env", "engines: {}\n      was:\n        ollama: {env")
    lab.run("apply", "--auto-approve")
    assert lab.containers() == {}


def test_without_the_move_the_state_owns_nothing_there_and_the_name_is_told(lab: Lab) -> None:
    before = lab.containers()
    lab.rename("dora", "dorothea")
    told = lab.run("apply", "--auto-approve", ends=3)
    assert "containers-ollama" in told
    assert lab.containers() == before
