"""`gpurec status` in a workspace, before and after an apply."""

from __future__ import annotations

import json

import pytest
from cli_lab import served

from reconciler.sim import read_sim_text

FLEET = """
time_scale: 0
nodes:
  a: {gpus: [{name: card, vram: 8GiB}], engines: {ollama: {kind: ollama, installed: [{name: "nomic-embed-text", size: 300MB}]}}}
"""


@pytest.fixture
def lab(tmp_path):
    with served(read_sim_text(FLEET, "status"), tmp_path) as lab:
        lab.want("version: 1\nmodels:\n  nomic-embed-text: {engine: ollama, vram: 350MiB}\n")
        yield lab


def standings(lab):
    return {one["address"]: one["standing"] for one in json.loads(lab.run("status", "--format", "json").output)["replicas"]}


def test_what_is_wanted_and_not_there_is_changing_and_then_running(lab):
    address = "model.nomic-embed-text@a/ollama"
    assert standings(lab) == {address: "changing"}
    lab.run("apply", "--auto-approve")
    assert standings(lab) == {address: "running"}
    result = lab.run("status")
    assert result.exit_code == 0
    assert f"✓ {address}" in result.output
    assert "nothing to do" in result.output
    lab.want("version: 1\nmodels: {}\n")
    assert standings(lab) == {address: "leaving"}


def test_what_is_installed_and_in_memory_on_demand_is_not_called_running(lab):
    address = "model.nomic-embed-text@a/ollama"
    lab.want("version: 1\nmodels:\n  nomic-embed-text: {engine: ollama, vram: 350MiB, ensure: present}\n")
    assert lab.run("apply", "--auto-approve").exit_code == 0
    assert standings(lab) == {address: "installed"}


def test_an_engine_that_cannot_be_reached_leaves_its_replicas_unknown_and_ends_with_4(lab):
    lab.run("apply", "--auto-approve")
    inventory = lab.root / "inventories" / "demo.yaml"
    port = next(iter(lab.fleet.engines.values())).url.rpartition(":")[2]
    inventory.write_text(inventory.read_text().replace(f":{port}", ":9"))
    assert lab.run("status").exit_code == 4
    assert set(standings(lab).values()) == {"unknown"}


def test_a_replica_whose_context_is_wanted_no_more_is_shown_as_it_runs(lab):
    wanted = "version: 1\nmodels:\n  nomic-embed-text: {engine: ollama, vram: 350MiB, context: 1024}\n"
    lab.want(wanted)
    assert lab.run("apply", "--auto-approve").exit_code == 0
    lab.want(wanted.replace(", context: 1024", ""))
    assert lab.run("apply", "--auto-approve").exit_code == 0
    (row,) = json.loads(lab.run("status", "--format", "json").output)["replicas"]
    assert (row["standing"], row["pinned"]) == ("running", True)
    assert row["vram_bytes"] is not None


def test_a_model_without_a_place_is_told(lab):
    lab.want("version: 1\nmodels:\n  huge: {engine: ollama, vram: 80GiB}\n")
    assert standings(lab) == {"model.huge": "unplaced"}
