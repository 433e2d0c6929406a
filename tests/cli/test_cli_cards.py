"""Cards of two vendors in one node, from the node's own tools to the last step of an apply."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_lab import Lab, served

from reconciler.sim import read_sim_text

FLEET = """
time_scale: 0
nodes:
  mixed:
    gpus: [{name: RTX 3090, vram: 24GiB}, {name: RX 7900 XTX, vram: 24GiB}]
    engines:
      ollama: {kind: ollama, gpus: [0], installed: [{name: "small:8b", size: 5GB}]}
      llamacpp: {kind: llamacpp, gpus: [1], installed: [{name: "large:20b", size: 18GB}]}
"""
SSH = """#!/bin/sh
exec sh -s
"""
NVIDIA_SMI = """#!/bin/sh
case "$*" in
--query-gpu=*) echo "index, uuid, name, memory.total [MiB], memory.used [MiB]"
  echo "0, GPU-aaaaaaaa, NVIDIA GeForce RTX 3090, 24576 MiB, 1200 MiB";;
esac
"""
AMD_SMI = """#!/bin/sh
case "$1" in
list) echo '[{"gpu": 0, "uuid": "aaff744c-0000"}]';;
static) echo '[{"gpu": 0, "asic": {"market_name": "Navi 31 [Radeon RX 7900 XT/7900 XTX]"}, "vram": {"type": "GDDR6"}}]';;
metric) echo '[{"gpu": 0, "mem_usage": {"total_vram": {"value": 24560, "unit": "MB"}, "used_vram": {"value": 800, "unit": "MB"}}}]';;
esac
"""
INVENTORY = """
all:
  hosts:
    mixed:
      ansible_host: 192.0.2.7
      probe: {{via: ssh}}
      engines:
        ollama: {{url: "{ollama}", gpus: [{first}]}}
        llamacpp: {{url: "{llamacpp}", gpus: [{second}]}}
      gpus: [{{index: 0, name: RTX 3090, vram: 24GiB}}, {{index: 1, name: RX 7900 XTX, vram: 24GiB}}]
"""
DESIRED = """
version: 1
models:
  "small:8b": {engine: ollama, vram: 6GiB}
  "large:20b": {engine: llamacpp, vram: 20GiB}
"""


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    tools = tmp_path / "tools"
    tools.mkdir()
    for name, text in (("ssh", SSH), ("nvidia-smi", NVIDIA_SMI), ("amd-smi", AMD_SMI)):
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:/usr/bin:/bin")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    (tmp_path / "lab").mkdir()
    with served(read_sim_text(FLEET, "mixed"), tmp_path / "lab") as lab:
        lab.want(DESIRED)
        yield lab


def bound(lab: Lab, first: object, second: object) -> None:
    urls = {name: lab.fleet.engines[f"mixed/{name}"].url for name in ("ollama", "llamacpp")}
    (lab.root / "inventories" / "demo.yaml").write_text(INVENTORY.format(**urls, first=first, second=second))


@pytest.mark.parametrize(("first", "second"), [(0, 1), ("nvidia0", "amd0"), ("GPU-aaaaaaaa", "aaff744c-0000")])
def test_cards_of_two_vendors_with_one_index_are_two_cards_and_both_loads_are_done(lab: Lab, first: object, second: object) -> None:
    bound(lab, first, second)
    plan = json.loads(lab.run("plan", "--format", "json").stdout)
    assert [(card["node"], card["gpu"]) for card in plan["gpus"]] == [("mixed", "nvidia0"), ("mixed", "amd0")]
    assert {step["engine"]: step["gpus"] for step in plan["steps"]} == {"ollama": ["nvidia0"], "llamacpp": ["amd0"]}
    done = lab.run("apply", "--auto-approve")
    assert done.exit_code == 0, done.output
    again = lab.run("plan", "--detailed-exitcode")
    assert again.exit_code == 0, again.output
    assert "mixed/amd0" in lab.run("facts").stdout


def test_the_schema_of_a_plan_allows_the_name_of_a_card(lab: Lab) -> None:
    bound(lab, 0, 1)
    saved = lab.root / "saved.plan"
    assert lab.run("plan", "--out", str(saved)).exit_code == 0
    assert lab.run("apply", str(saved)).exit_code == 0
