"""Computed, loaded, measured: what one apply learns is what the next plan goes by, and the plan after an apply stays empty."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cli.cli_lab import Lab, served

from reconciler.sim import read_sim_text

FLEET = """
time_scale: 0
models:
  - {name: "m:8b", size: 4GB, kv_per_token: 128KiB, layers: 32, compute: 100MiB, overhead: 300MiB}
nodes:
  a:
    gpus: [{name: NVIDIA GeForce RTX 3060, vram: 12GiB, compute_capability: "8.6"}]
    engines: {ollama: {kind: ollama, installed: ["m:8b"]}}
"""
WANT = 'version: 1\nmodels:\n  "m:8b": {engine: ollama}\n'


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with served(read_sim_text(FLEET, "needs"), tmp_path) as made:
        made.want(WANT)
        yield made


def planned(lab: Lab, *arguments: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(lab.run("plan", "--format", "json", *arguments).stdout)
    return found


def loads(document: dict[str, Any]) -> list[dict[str, Any]]:
    return [step for step in document["steps"] if step["action"] == "load"]


def test_a_computed_need_is_loaded_measured_and_shown_beside_the_prediction(lab: Lab) -> None:
    (first,) = loads(planned(lab))
    assert first["vram_source"] == "computed"
    assert "measured_bytes" not in first
    assert lab.run("apply", "--auto-approve").exit_code == 0
    assert planned(lab)["steps"] == []
    lab.fleet.engines["a/ollama"].restart()
    (again,) = loads(planned(lab))
    assert again["vram_source"] == "measured"
    assert again["seconds"] is not None
    took = 4 * 10**9 + 4096 * 128 * 1024 + 100 * 2**20
    assert again["reported_bytes"] == took
    assert again["measured_bytes"] == again["vram_bytes"] == took + 893 * 2**20
    assert abs(again["predicted_bytes"] - again["measured_bytes"]) < 0.12 * took
    assert took < again["vram_bytes"] < first["vram_bytes"]
    (model,) = json.loads(lab.run("models", "--format", "json").stdout)["models"]
    assert [need["source"] for need in model["needs"]] == ["measured", "computed", "file_size"]
    assert (model["vram_bytes"], model["needs"][0]["measured_bytes"]) == (again["vram_bytes"], again["measured_bytes"])
    assert model["needs"][0]["reported_bytes"] == took
    for command in ("models", "plan", "rollback", "check"):
        arguments = {"rollback": ("1",), "check": ("m:8b",)}.get(command, ())
        said = lab.run(command, *arguments).stdout
        assert "5319 MiB" in said
        assert "4426 MiB reported by its engine + 893 MiB for its process; predicted 53" in said
    assert lab.run("apply", "--auto-approve").exit_code == 0
    assert planned(lab)["steps"] == []


def test_recorded_and_assumed_facts_compute_the_same_need_and_ask_nobody(lab: Lab) -> None:
    (probed,) = loads(planned(lab))
    assert lab.run("facts", "--out", "facts.json").exit_code == 0
    for engine in lab.fleet.engines.values():
        engine.forget_requests()
    (assumed,) = loads(planned(lab, "--assume", "facts.json"))
    assert (assumed["vram_bytes"], assumed["vram_source"]) == (probed["vram_bytes"], "computed")
    assert [request for engine in lab.fleet.engines.values() for request in engine.requests] == []


def test_a_fleet_with_nothing_new_is_not_asked_about_its_files_again(lab: Lab) -> None:
    assert lab.run("apply", "--auto-approve").exit_code == 0
    engine = lab.fleet.engines["a/ollama"]
    engine.forget_requests()
    assert planned(lab)["steps"] == []
    assert [request.path for request in engine.requests] == ["/api/tags", "/api/ps", "/api/version"]


def test_a_workspaces_catalogue_counts_in_the_config_digest_and_in_the_plan(lab: Lab) -> None:
    lab.want('version: 1\nmodels:\n  "new:1b": {engine: ollama}\n')
    before = planned(lab)
    assert before["summary"]["unplaced"] == 1
    (lab.root / "catalogue.yaml").write_text('models:\n  "new:1b": {engine: ollama, vram: 2GiB}\n')
    after = planned(lab)
    assert [(step["vram_bytes"], step["vram_source"]) for step in loads(after)] == [(2 * 2**30, "catalogue")]
    assert after["config_digest"] != before["config_digest"]
