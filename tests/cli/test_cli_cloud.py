"""A tag that leads to a cloud: it takes no memory here, so nobody is asked to say how much."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from reconciler.cli.main import cli
from reconciler.sim import read_sim_text, running

SIM = """
time_scale: 0
nodes:
  o: {gpus: [{name: card, vram: 8GiB}], engines: {e: {kind: ollama, installed: [{name: "big:1-cloud", size: 382B}]}}}
"""


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    wanted = 'version: 1\nmodels: {"big:1-cloud": {engine: ollama}}\n'
    for folder, text in (
        ("inventories", 'all: {hosts: {a: {engines: {ollama: {url: "%s"}}, gpus: [{index: 0, vram: 8GiB}]}}}\n'),
        ("desired", wanted),
    ):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "lab.yaml").write_text(text)
    with running(read_sim_text(SIM, "cloud")) as fleet:
        inventory = tmp_path / "inventories" / "lab.yaml"
        inventory.write_text(inventory.read_text() % fleet.engines["o/e"].url)
        assert CliRunner().invoke(cli, ["-C", str(tmp_path), "facts", "--out", str(tmp_path / "facts.json")]).exit_code == 0
    facts = json.loads((tmp_path / "facts.json").read_text())
    (file,) = facts["facts"]["nodes"]["a"]["engines"]["ollama"]["installed"]
    file.update(remote="https://ollama.com:443", size_bytes=None, blob=None)
    (tmp_path / "facts.json").write_text(json.dumps(facts))
    return tmp_path


@pytest.mark.parametrize("command", [("models",), ("check", "big:1-cloud")], ids=" ".join)
def test_nobody_is_asked_for_the_memory_of_what_a_cloud_runs(workspace: Path, command: tuple[str, ...]) -> None:
    result = CliRunner().invoke(cli, ["-C", str(workspace), *command, "--assume", "facts.json"])
    assert result.exit_code == 0, result.output
    assert "cloud" in result.output
    assert "Nobody knows" not in result.output
