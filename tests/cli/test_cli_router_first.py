"""A server that fetches nothing itself and that nobody has seen yet: one plan starts it and loads its models, believing their files to be
there until it runs."""

from __future__ import annotations

import json
import socket
from pathlib import Path

from cli_lab import POLL
from click.testing import CliRunner

from reconciler.cli.main import cli
from reconciler.cli.settings import Settings
from reconciler.sim import running
from reconciler.sim.read import read_sim_text

CARD = "{name: NVIDIA GeForce RTX 3060, vram: 12GiB, uuid: GPU-d0aa0000-0000-4000-8000-000000000000}"
SIM = f"""
time_scale: 0
models: [{{name: gemma, size: 700MiB, weights: 600MiB, kv_per_token: 1024}}]
nodes:
  box:
    ram: 32GiB
    gpus: [{CARD}]
    docker:
      port: 22375
      cdi: true
      images:
        - name: "llama:1"
          command: ["--models-dir", /models]
          entrypoint: [/app/llama-server]
          engine: {{kind: llamacpp, mode: router, installed: [gemma]}}
"""


def test_one_plan_starts_a_router_and_loads_what_it_has_and_says_what_it_has_not(tmp_path: Path) -> None:
    def run(*arguments: str, ends: int) -> str:
        done = CliRunner().invoke(cli, ["-C", str(tmp_path), *arguments], obj=Settings(poll_seconds=POLL))
        assert done.exit_code == ends, done.output
        return done.stdout

    with running(read_sim_text(SIM, "sim.yaml").on_free_ports()) as fleet, socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
        one.close()
        llama = f'{{kind: llamacpp, runtime: container, port: {port}, args: [--models-dir, /models], container: {{image: "llama:1"}}}}'
        host = f"address: 127.0.0.1, docker: 'tcp://127.0.0.1:{fleet.daemons['box'].port}', gpus: [{CARD.replace('{', '{index: 0, ')}]"
        for folder, text in (
            ("inventories", f"all: {{hosts: {{box: {{{host}, engines: {{llama: {llama}}}}}}}}}\n"),
            ("desired", "version: 1\nmodels: {gemma: {vram: 1GiB}, elsewhere: {vram: 1GiB}}\n"),
        ):
            (tmp_path / folder).mkdir()
            (tmp_path / folder / "lab.yaml").write_text(text)
        plan = json.loads(run("plan", "--format", "json", ends=0))
        needs = {f"{step['action']} {step['address']}": step["needs"] for step in plan["steps"]}
        assert needs["load model.gemma@box/llama"] == ["create:engine.box/llama"]
        assert "elsewhere is not installed on box/llama" in run("apply", "--auto-approve", ends=3)
        after = json.loads(run("plan", "--format", "json", ends=0))
        assert after["steps"] == []
        assert [(one["model"], one["candidates"][0]["reason"]) for one in after["unplaced"]] == [("elsewhere", "not_installed")]
