"""A file that is one engine's own (`per: engine`) is there before the engine starts, and is read before anything is loaded there."""

from __future__ import annotations

import json
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_lab import POLL
from click.testing import CliRunner

from reconciler.cli.main import cli
from reconciler.cli.settings import Settings
from reconciler.sim import SimFleet, read_sim_text, running

SIM = """
time_scale: 0
models: [{name: a, vram: 4GiB, size: 1GiB}, {name: b, vram: 2GiB, size: 1GiB}]
nodes:
  box:
    gpus: [{name: card, vram: 24GiB, uuid: GPU-e3090000-0000-4000-8000-000000000000}]
    engines: {ollama: {kind: ollama}}
    docker:
      registry:
        - name: "swap:1"
          entrypoint: [/llama-swap]
          size: 1GB
          engine: {kind: llamaswap, installed: [a, b], groups: {pinned: {swap: false, members: [a, b]}}}
"""
INVENTORY = """
all:
  hosts:
    box:
      address: 127.0.0.1
      docker: tcp://127.0.0.1:%(docker)d
      gpus: [{index: 0, vram: 24GiB, uuid: GPU-e3090000-0000-4000-8000-000000000000}]
      engines:
        ollama: {url: "%(ollama)s"}
        swap: {kind: llamaswap, runtime: container, port: %(port)d, container: {image: "swap:1", volumes: ["%(root)s/swap:/etc/swap:ro"]}}
"""
DESIRED = """
version: 1
models: {a: {engine: llamaswap, vram: 4GiB}, b: {engine: llamaswap, vram: 2GiB}}
files: [{template: "gpurec:llama-swap", per: engine, to: "%(root)s/swap/{{ engine.name }}.yaml", reload: [%(root)s/reload]}]
"""


class Lab:
    def __init__(self, root: Path, fleet: SimFleet, port: int) -> None:
        self.root, self.fleet = root, fleet
        self.told = {"docker": fleet.daemons["box"].port, "ollama": fleet.engines["box/ollama"].url, "port": port, "root": root}
        for folder in ("inventories", "desired", "swap"):
            (root / folder).mkdir()
        (root / "inventories" / "lab.yaml").write_text(INVENTORY % self.told)
        self.want(DESIRED % self.told)
        command = root / "reload"
        command.write_text(f"#!/bin/sh\necho reloaded >> {root}/reloads\n")
        command.chmod(command.stat().st_mode | stat.S_IXUSR)

    def want(self, text: str) -> None:
        (self.root / "desired" / "lab.yaml").write_text(text)

    def run(self, *arguments: str, ends: int = 0) -> str:
        done = CliRunner().invoke(cli, ["-C", str(self.root), *arguments], obj=Settings(poll_seconds=POLL))
        assert done.exit_code == ends, done.output
        return done.stdout

    def steps(self) -> list[dict]:
        return json.loads(self.run("plan", "--format", "json"))["steps"]


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = int(taken.getsockname()[1])
    with running(read_sim_text(SIM, "lab").on_free_ports()) as fleet:
        yield Lab(tmp_path, fleet, port)


def test_from_an_empty_machine_one_apply_writes_the_file_starts_the_llama_swap_and_loads_its_models(lab: Lab) -> None:
    order = [(step["action"], step["address"].partition(".")[0]) for step in lab.steps()]
    assert order == [("create", "file"), ("create", "engine"), ("reload", "reload"), ("load", "model"), ("load", "model")]
    lab.run("apply", "--auto-approve")
    (written,) = (lab.root / "swap").iterdir()
    assert written.name == "swap.yaml", "the Ollama of the same host gets none"
    assert 'members: ["a", "b"]' in written.read_text()
    assert lab.steps() == []


def test_where_its_file_cannot_be_written_the_engine_does_not_start(lab: Lab) -> None:
    (lab.root / "swap").rmdir()
    lab.run("apply", "--auto-approve", "--keep-going", ends=3)
    assert [step["action"] for step in lab.steps()] == ["create", "create", "reload", "load", "load"]


def test_a_file_of_the_whole_node_still_waits_for_the_loads_with_the_same_command_after_it(lab: Lab) -> None:
    (lab.root / "templates").mkdir()
    (lab.root / "templates" / "all.j2").write_text("{{ replicas | length }}\n")
    more = f"{{template: all.j2, per: node, to: '{lab.root}/all', reload: [{lab.root}/reload]}}]"
    lab.want((DESIRED % lab.told).rstrip().removesuffix("]") + ", " + more + "\n")
    order = [step["address"] for step in lab.steps()]
    assert order.index("model.a@box/swap") < order.index(f"file.{lab.root}/all@box") < len(order) - 1
    lab.run("apply", "--auto-approve")
    assert lab.steps() == []


OUTSIDE = """
time_scale: 0
models: [{name: a, vram: 4GiB, size: 1GiB}]
nodes: {box: {gpus: [{name: card, vram: 24GiB}], engines: {swap: {kind: llamaswap, installed: [%s]}}}}
"""


def test_of_a_llama_swap_that_somebody_else_starts_the_plan_says_that_its_models_come_with_the_next_apply(tmp_path: Path) -> None:
    for folder in ("inventories", "desired", "swap"):
        (tmp_path / folder).mkdir()
    file = f"{tmp_path}/swap/swap.yaml"
    files = f'[{{template: "gpurec:llama-swap", per: engine, to: "{file}", reload: ["true"]}}]'
    (tmp_path / "desired" / "lab.yaml").write_text(f"version: 1\nmodels: {{a: {{engine: llamaswap, vram: 4GiB}}}}\nfiles: {files}\n")

    def run(fleet: SimFleet, *arguments: str) -> str:
        url = fleet.engines["box/swap"].url
        host = f'{{ansible_connection: local, gpus: [{{vram: 24GiB}}], engines: {{swap: {{kind: llamaswap, url: "{url}"}}}}}}'
        (tmp_path / "inventories" / "lab.yaml").write_text(f"all: {{hosts: {{box: {host}}}}}\n")
        done = CliRunner().invoke(cli, ["-C", str(tmp_path), *arguments], obj=Settings(poll_seconds=POLL))
        return " ".join(done.stdout.split())

    with running(read_sim_text(OUTSIDE % "", "lab").on_free_ports()) as fleet:
        assert f"would fit if box/swap has read {file}, which this plan writes: apply once more after it" in run(fleet, "plan")
        run(fleet, "apply", "--auto-approve")
        assert "would fit if the file of a is put where the engine looks for models" in run(fleet, "plan"), "it has not read it"
    with running(read_sim_text(OUTSIDE % "a", "lab").on_free_ports()) as fleet:  # it has read it
        run(fleet, "apply", "--auto-approve")
        assert set(fleet.engines["box/swap"].residents) == {"a"}
        assert run(fleet, "plan").startswith("No changes.")


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ("{template: x.j2, to: x, engine: ollama}", "'engine' goes with one file for each engine"),
        ("{template: x.j2, per: engine, engine: olama, to: /x}", "did you mean 'ollama'"),
    ],
)
def test_the_kind_of_engine_goes_with_files_of_engines_alone(lab: Lab, files: str, said: str) -> None:
    (lab.root / "templates").mkdir()
    (lab.root / "templates" / "x.j2").write_text("x\n")
    lab.want(f"version: 1\nfiles: [{files}]\n")
    done = CliRunner().invoke(cli, ["-C", str(lab.root), "validate"])
    assert done.exit_code == 1
    assert said in done.output
