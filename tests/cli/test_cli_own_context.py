"""A context that is taken out of the files, or that an earlier serial did not ask for, leads back to the engine's own; import writes
the one that runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from cli_lab import Lab, served
from click.testing import Result
from ruamel.yaml import YAML

from reconciler.sim import read_sim_text

FLEET = """
time_scale: 0
models: [{name: "chat:1", vram: 5GiB}]
nodes:
  ada:
    gpus: [{vram: 12GiB}]
    engines: {ollama: {kind: ollama, installed: ["chat:1"]}}
"""
TAG, REQUEST = "", ", context_via: request"
OWN = 4096


def chat(context: int | None, more: str = "") -> str:
    asked = f", context: {context}" if context is not None else ""
    return f"version: 1\nmodels:\n  chat:1: {{vram: 6GiB{asked}{more}}}\n"


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with served(read_sim_text(FLEET, "fleet.yaml"), tmp_path) as lab:
        yield lab


def apply(lab: Lab, text: str) -> Result:
    lab.want(text)
    result = lab.run("apply", "--auto-approve")
    assert result.exit_code == 0, result.output
    return result


def runs(lab: Lab) -> list[tuple[str, int]]:
    found = httpx.get(f"{lab.fleet.engines['ada/ollama'].url}/api/ps").json()["models"]
    return [(one["name"], one["context_length"]) for one in found]


def loads(lab: Lab) -> int:
    return sum(1 for one in lab.sent() if one.endswith("/api/generate"))


def load_as_a_client(lab: Lab, context: int) -> None:
    body = {"model": "chat:1", "keep_alive": -1, "options": {"num_ctx": context}}
    httpx.post(f"{lab.fleet.engines['ada/ollama'].url}/api/generate", json=body, timeout=30).raise_for_status()


@pytest.mark.parametrize("via", [TAG, REQUEST])
def test_a_context_that_left_the_files_is_a_change_that_is_shown_and_leads_back_to_the_engines_own(lab: Lab, via: str) -> None:
    apply(lab, chat(8192, via))
    lab.want(chat(None, via))
    shown = lab.run("plan", "--detailed-exitcode")
    assert shown.exit_code == 2, shown.output
    assert "context 8192 is no longer asked for: back to the engine's own" in " ".join(shown.stdout.split())
    assert "8192 → the engine's own" in shown.stdout
    apply(lab, chat(None, via))
    assert runs(lab) == [("chat:1", OWN)]
    sent = loads(lab)
    assert lab.run("plan", "--detailed-exitcode").exit_code == 0
    assert lab.run("apply", "--auto-approve").exit_code == 0
    assert loads(lab) == sent


def test_a_run_elsewhere_does_not_forget_that_a_context_is_to_go(lab: Lab) -> None:
    apply(lab, chat(8192, REQUEST))
    lab.want(chat(None))
    assert lab.run("apply", "--auto-approve", "--exclude", "ada").exit_code == 0
    assert lab.run("plan", "--detailed-exitcode").exit_code == 2


def test_where_somebody_else_made_it_the_engines_own_already_nothing_is_sent(lab: Lab) -> None:
    apply(lab, chat(8192, REQUEST))
    load_as_a_client(lab, OWN)
    sent = loads(lab)
    apply(lab, chat(None))
    assert (runs(lab), loads(lab)) == ([("chat:1", OWN)], sent)


@pytest.mark.parametrize("via", [TAG, REQUEST])
def test_a_rollback_to_a_serial_that_asked_for_no_context_goes_back_to_what_ran_then(lab: Lab, via: str) -> None:
    apply(lab, chat(None))
    assert runs(lab) == [("chat:1", OWN)]
    apply(lab, chat(8192, via))
    out = str(lab.root / "back.json")
    shown = lab.run("rollback", "1", "--out", out, "--detailed-exitcode")
    assert shown.exit_code == 2, shown.output
    assert "8192 → 4096" in shown.stdout
    assert lab.run("apply", out).exit_code == 0
    assert runs(lab) == [("chat:1", OWN)]
    assert lab.run("rollback", "1", "--detailed-exitcode").exit_code == 0
    lab.want(chat(None))
    assert lab.run("plan", "--detailed-exitcode").exit_code == 0


def test_what_a_client_had_set_when_it_was_adopted_is_what_one_goes_back_to(lab: Lab) -> None:
    load_as_a_client(lab, 2048)
    apply(lab, chat(None))
    apply(lab, chat(8192, REQUEST))
    out = str(lab.root / "back.json")
    assert lab.run("rollback", "1", "--out", out).exit_code == 0
    assert lab.run("apply", out).exit_code == 0
    assert runs(lab) == [("chat:1", 2048)]
    lab.want(chat(None))
    assert lab.run("plan", "--detailed-exitcode").exit_code == 0


def test_import_writes_the_context_that_runs_so_that_a_restart_brings_it_back(lab: Lab) -> None:
    load_as_a_client(lab, 2048)
    desired = lab.root / "desired" / "demo.yaml"
    desired.unlink()
    assert lab.run("import", "--out", str(desired)).exit_code == 0
    model = YAML(typ="safe", pure=True).load(desired.read_text())["models"]["chat:1"]
    assert (model["context"], model["context_via"]) == (2048, "request")
    sent = loads(lab)
    result = lab.run("apply", "--auto-approve")
    assert (result.exit_code, loads(lab), runs(lab)) == (0, sent, [("chat:1", 2048)]), result.output
    engine = lab.fleet.engines["ada/ollama"]
    engine.kill()
    engine.revive()
    assert lab.run("apply", "--auto-approve").exit_code == 0
    assert runs(lab) == [("chat:1", 2048)]
