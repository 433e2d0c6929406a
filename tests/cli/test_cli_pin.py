"""`gpurec pin` over a simulated fleet: a name that moves in the registry does not move the fleet."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from cli_lab import Lab, served

from reconciler.sim import read_sim_text

FLEET = """
time_scale: 0
models: [{name: "chat:latest", vram: 5GiB}, {name: "other:7b", vram: 4GiB}, {name: phi, vram: 1GiB}]
nodes:
  ada:
    gpus: [{vram: 24GiB}]
    engines: {ollama: {kind: ollama, installed: ["chat:latest", "other:7b"]}}
  bea:
    gpus: [{vram: 24GiB}]
    engines: {ollama: {kind: ollama, installed: ["other:7b"], registry: ["chat:latest"]}}
  cleo:
    gpus: [{vram: 8GiB}]
    engines: {llamacpp: {kind: llamacpp, mode: router, installed: [phi]}}
"""
WANTED = "version: 1\nmodels:\n  chat: {engine: ollama, on: ollama, each: node, vram: 5GiB}\n  phi: {engine: llamacpp, vram: 1GiB}\n"


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with served(read_sim_text(FLEET, "fleet.yaml"), tmp_path) as lab:
        lab.want(WANTED)
        yield lab


def lock(lab: Lab) -> Path:
    return lab.root / "desired" / "demo.lock.yaml"


def move(lab: Lab, at: str) -> None:
    """As if the name had been pulled again after its registry moved: it stands for other weights."""
    body = {"model": "chat:latest", "from": "other:7b", "stream": False}
    httpx.post(lab.fleet.engines[at].url + "/api/create", json=body).raise_for_status()


def test_pin_writes_what_the_engines_have_and_a_plan_with_it_is_as_before(lab: Lab) -> None:
    result = lab.run("pin")
    assert result.exit_code == 0, result.output
    assert "no engine tells the weights of phi; it is not pinned" in result.stderr
    text = lock(lab).read_text()
    assert [line for line in text.splitlines() if not line.startswith("#")][:2] == ["version: 1", "digests:"]
    assert result.stdout == text.splitlines()[-1].strip().replace(": ", "  ") + "\n"
    assert lab.run("apply", "--auto-approve").exit_code == 0
    assert lab.run("plan", "--detailed-exitcode").exit_code == 0
    assert lab.run("drift").exit_code == 0


def test_other_weights_are_drift_in_the_plan_and_pin_accepts_them(lab: Lab) -> None:
    assert lab.run("pin").exit_code == 0
    assert lab.run("apply", "--auto-approve").exit_code == 0
    before = lock(lab).read_text()
    lock(lab).write_text(before.replace("sha256:", "sha256:0000")[: -len("0000\n")] + "\n")
    drift = lab.run("drift", "--format", "json")
    assert drift.exit_code == 2
    assert {(one["kind"], one["address"]) for one in json.loads(drift.stdout)["drift"]} == {
        ("digest", "model.chat@ada/ollama"),
        ("digest", "model.chat@bea/ollama"),
    }
    assert lab.run("doctor").stdout.count("digest_differs") == 2
    planned = lab.run("plan", "--detailed-exitcode")
    assert (planned.exit_code, "gpurec pin" in planned.stdout) == (0, True)
    accepted = lab.run("pin", "chat")
    assert (accepted.exit_code, " → sha256:" in accepted.stdout) == (0, True)
    assert lock(lab).read_text() == before
    assert lab.run("drift").exit_code == 0


def test_a_pull_that_brings_other_weights_fails_its_step_and_nothing_is_loaded(lab: Lab) -> None:
    move(lab, "ada/ollama")
    assert lab.run("pin").exit_code == 0
    result = lab.run("apply", "--auto-approve")
    assert result.exit_code == 3
    assert "its digest pins sha256:" in " ".join(result.output.split())
    assert "chat:latest" in lab.fleet.engines["ada/ollama"].residents
    assert lab.fleet.engines["bea/ollama"].residents == {}


def test_engines_that_differ_are_an_error_that_names_both_and_the_lock_file_stays(lab: Lab) -> None:
    assert lab.run("apply", "--auto-approve").exit_code == 0
    assert lab.run("pin").exit_code == 0
    before = lock(lab).read_text()
    move(lab, "bea/ollama")
    result = lab.run("pin")
    assert (result.exit_code, lock(lab).read_text()) == (1, before)
    assert "on ada/ollama" in result.stderr
    assert "on bea/ollama" in result.stderr


def test_a_node_that_is_down_and_a_model_of_its_own_digest_are_told_and_kept_out(lab: Lab) -> None:
    lab.want(WANTED.replace("engine: ollama, on", f"digest: 'sha256:{'f' * 64}', engine: ollama, on"))
    lab.fleet.engines["bea/ollama"].kill()
    result = lab.run("pin")
    assert result.exit_code == 4
    assert "Warning: bea/ollama cannot be reached" in result.stderr
    assert "chat" not in lock(lab).read_text()


def test_an_unknown_model_is_told_with_the_nearest(lab: Lab) -> None:
    result = lab.run("pin", "chta")
    assert result.exit_code == 1
    assert "did you mean 'chat'?" in result.stderr
    assert not lock(lab).exists()
