"""Drift is told until it is mended, and one fault's hold holds no other; whole commands over a simulated Ollama."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

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
    engines: {ollama: {kind: ollama, installed: ["chat:1", "code:1"], registry: ["code:1"]}}
"""
TWO = "version: 1\nmodels:\n  chat:1: {vram: 4GiB}\n  code:1: {vram: 3GiB}\n"
BY_REQUEST = "version: 1\nmodels:\n  chat:1: {vram: 4GiB, context: 8192, context_via: request}\n"


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with served(read_sim_text(FLEET, "fleet.yaml"), tmp_path) as lab:
        yield lab


def apply(lab: Lab, text: str, status: int = 0) -> str:
    lab.want(text)
    result = lab.run("apply", "--auto-approve")
    assert result.exit_code == status, result.output
    return result.output


def ask(lab: Lab, method: str, path: str, **body: object) -> httpx.Response:
    answer = httpx.request(method, f"{lab.fleet.engines['ada/ollama'].url}{path}", json=body or None, timeout=30)
    answer.raise_for_status()
    return answer


def drift(lab: Lab) -> list[tuple[str, str]]:
    result = lab.run("drift", "--format", "json")
    found = json.loads(result.stdout)["drift"]
    assert result.exit_code == (2 if found else 0)
    return [(one["kind"], one["address"]) for one in found]


def test_a_model_deleted_from_disk_while_it_runs_is_told_and_pulled_again(lab: Lab) -> None:
    apply(lab, TWO)
    ask(lab, "DELETE", "/api/delete", model="code:1")
    assert "code:1" in lab.fleet.engines["ada/ollama"].residents
    assert drift(lab) == [("missing", "model.code:1@ada/ollama")]
    assert "was installed, is gone" in lab.run("drift").stdout
    assert "its files are gone from the disk of its engine" in lab.run("doctor").stdout
    apply(lab, TWO)
    assert drift(lab) == []
    assert lab.run("plan", "--detailed-exitcode").exit_code == 0


def test_an_engine_that_was_started_again_is_one_line(lab: Lab) -> None:
    apply(lab, TWO)
    lab.fleet.engines["ada/ollama"].restart()
    assert ("restarted", "engine.ada/ollama") in drift(lab)
    text = lab.run("drift").stdout
    assert "engine restarted: all 2 residents are gone" in text
    assert text.startswith("1 field drifted.")
    assert "was resident, is gone" not in text
    assert "chat:1" not in text


def test_an_apply_while_an_engine_is_away_loses_nothing_of_what_changed_meanwhile(lab: Lab) -> None:
    apply(lab, TWO)
    engine = lab.fleet.engines["ada/ollama"]
    engine.kill()
    for _ in range(2):
        apply(lab, TWO, status=4)
    assert lab.run("plan", "--refresh", "never", "--detailed-exitcode").exit_code == 4, "it is recorded as away, and not as it was"
    engine.spec = replace(engine.spec, version="0.35.1")
    engine.revive()
    assert {one for one in drift(lab) if one[0] != "missing"} == {("restarted", "engine.ada/ollama"), ("version", "engine.ada/ollama")}
    text = lab.run("drift").stdout
    assert "engine restarted: all 2 residents are gone" in text
    assert "was resident, is gone" not in text
    apply(lab, TWO)
    assert drift(lab) == []


def test_what_is_held_for_its_context_is_pinned_again_and_not_reloaded(lab: Lab) -> None:
    apply(lab, BY_REQUEST)
    ask(lab, "POST", "/api/generate", model="chat:1", keep_alive=-1, options={"num_ctx": 2048})
    apply(lab, BY_REQUEST)
    ask(lab, "POST", "/api/generate", model="chat:1", keep_alive="10m", options={"num_ctx": 2048})
    out = apply(lab, BY_REQUEST, status=3)
    assert "held until" in out
    (resident,) = ask(lab, "GET", "/api/ps").json()["models"]
    assert (resident["context_length"], resident["expires_at"] > "2100") == (2048, True)
    lab.want(BY_REQUEST)
    assert lab.run("plan").stdout.startswith("No changes.")


def test_what_was_deleted_from_disk_while_it_runs_cannot_be_unloaded_and_that_is_said_at_once(lab: Lab) -> None:
    apply(lab, TWO)
    ask(lab, "DELETE", "/api/delete", model="code:1")
    out = apply(lab, "version: 1\nmodels:\n  chat:1: {vram: 4GiB}\n", status=3)
    assert "code:1 cannot be unloaded: it runs, and is gone from the disk of its engine" in out
    assert "pull it again, or restart the engine" in " ".join(out.split())
    assert "still resident" not in out
    ask(lab, "POST", "/api/pull", model="code:1", stream=False)
    apply(lab, "version: 1\nmodels:\n  chat:1: {vram: 4GiB}\n")
    assert "code:1" not in lab.fleet.engines["ada/ollama"].residents
