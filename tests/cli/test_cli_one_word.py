"""`status`, `plan` and `doctor` say the same of the same resident, and a load that failed is told until one succeeds."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from cli_lab import Lab, served

from reconciler.sim import read_sim_text

FLEET = """
time_scale: 0
models: [{name: "chat:1", vram: 3GiB}, {name: "code:1", vram: 2GiB}]
nodes:
  ada:
    gpus: [{vram: 12GiB}]
    engines:
      ollama: {kind: ollama, installed: ["chat:1", "code:1"]}
      llama: {kind: llamacpp, mode: router, installed: ["chat:1"]}
"""
CHAT = "version: 1\nmodels:\n  chat:1: {engine: ollama, vram: 4GiB}\n"


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with served(read_sim_text(FLEET, "fleet.yaml"), tmp_path) as lab:
        yield lab


def status(lab: Lab) -> dict[str, Any]:
    return json.loads(lab.run("status", "--format", "json").stdout)


def replica(lab: Lab, address: str) -> dict[str, Any]:
    return next(one for one in status(lab)["replicas"] if one["address"] == address)


def doctor(lab: Lab) -> dict[str, str]:
    found = json.loads(lab.run("doctor", "--format", "json").stdout)["findings"]
    return {one["address"]: f"{one['code']}: {one['message']}" for one in found}


CHAT_AT = "model.chat:1@ada/ollama"


def test_a_load_that_failed_is_told_with_its_cause_until_one_succeeds(lab: Lab) -> None:
    lab.want(CHAT)
    engine = lab.fleet.engines["ada/ollama"]
    engine.set_fault("fail_load", models=("chat:1",), text="llama runner process has terminated: exit status 1")
    assert lab.run("apply", "--auto-approve").exit_code == 3
    for _ in range(2):
        one = replica(lab, CHAT_AT)
        assert one["standing"] == "changing"
        assert "llama runner process has terminated" in one["failed"]
        assert "(run 1)" in one["failed"]
        assert "load_failed: its last load failed: " in doctor(lab)[CHAT_AT]
        assert "its last load failed" in " ".join(lab.run("status").stdout.split())
        lab.run("apply", "--auto-approve", "--exclude", "ada")  # another run, that does nothing there
    engine.clear_faults()
    assert lab.run("apply", "--auto-approve").exit_code == 0
    assert replica(lab, CHAT_AT)["failed"] is None
    assert CHAT_AT not in doctor(lab)


def test_a_resident_that_a_client_loaded_since_is_not_called_failed(lab: Lab) -> None:
    lab.want(CHAT)
    lab.fleet.engines["ada/ollama"].set_fault("fail_load", models=("chat:1",))
    assert lab.run("apply", "--auto-approve").exit_code == 3
    lab.fleet.engines["ada/ollama"].clear_faults()
    httpx.post(f"{lab.fleet.engines['ada/ollama'].url}/api/generate", json={"model": "chat:1", "keep_alive": -1}).raise_for_status()
    assert replica(lab, CHAT_AT)["failed"] is None


def test_the_size_of_a_resident_is_the_same_in_every_view(lab: Lab) -> None:
    lab.want(CHAT)
    assert lab.run("apply", "--auto-approve").exit_code == 0
    httpx.post(f"{lab.fleet.engines['ada/ollama'].url}/api/generate", json={"model": "code:1", "keep_alive": -1}).raise_for_status()
    seen, plan = status(lab), json.loads(lab.run("plan", "--format", "json").stdout)
    held = {one["address"]: one["vram_bytes"] for one in seen["replicas"]}
    (card,) = plan["gpus"]
    assert sum(held.values()) == card["before_bytes"]
    on_card = {one["model"]: one["vram_bytes"] for one in seen["cards"][0]["models"]}
    assert on_card == {"chat:1": held[CHAT_AT], "code:1": held["model.code:1@ada/ollama"]}
    assert [one["vram_bytes"] for one in plan["unmanaged"]] == [on_card["code:1"]]


def test_a_model_that_runs_under_another_name_of_its_weights_has_its_size(lab: Lab) -> None:
    engine = lab.fleet.engines["ada/ollama"]
    httpx.post(f"{engine.url}/api/generate", json={"model": "chat:1", "keep_alive": -1, "options": {"num_ctx": 8192}}).raise_for_status()
    lab.want("version: 1\nmodels:\n  chat:1: {engine: ollama, vram: 4GiB, context: 8192}\n")
    assert lab.run("apply", "--auto-approve").exit_code == 0
    one = replica(lab, CHAT_AT)
    assert (one["standing"], one["context"]) == ("running", 8192)
    assert one["vram_bytes"] >= 3 * 2**30


def test_no_place_says_who_holds_the_room_and_shows_no_engine_of_a_kind_that_was_not_asked_for(lab: Lab) -> None:
    lab.want(CHAT + "  code:1: {engine: ollama, vram: 9GiB}\npriority_models: ['chat:1']\n")
    result = lab.run("plan")
    text = " ".join(result.stdout.split())
    assert "held by chat:1 4096 MiB" in text
    assert "ada/llama" not in text
    (unplaced,) = json.loads(lab.run("plan", "--format", "json").stdout)["unplaced"]
    assert unplaced["candidate_counts"] == {"insufficient_vram": 1}
