"""Approved is what is done: a step of a saved plan is refused where another run changed its address since, or where what it changes from is
not what the plan shows, unless it is already as the step leaves it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from cli_lab import Lab, served
from click.testing import Result

from reconciler.sim import read_sim_text

FLEET = """
time_scale: 0
models: [{name: "chat:1", vram: 5GiB}, {name: "code:1", vram: 4GiB}]
nodes:
  ada:
    gpus: [{vram: 24GiB}]
    engines: {ollama: {kind: ollama, installed: ["chat:1", "code:1"]}}
  bea:
    gpus: [{vram: 24GiB}]
    engines: {ollama: {kind: ollama, installed: ["chat:1", "code:1"]}}
"""
TAG, REQUEST = "", ", context_via: request"


def chat(context: int | None, more: str = "", on: str = "ada") -> str:
    asked = f", context: {context}" if context is not None else ""
    return f"version: 1\nmodels:\n  chat:1: {{on: {on}, vram: 6GiB{asked}{more}}}\n"


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with served(read_sim_text(FLEET, "fleet.yaml"), tmp_path) as lab:
        yield lab


def apply(lab: Lab, text: str) -> Result:
    lab.want(text)
    result = lab.run("apply", "--auto-approve")
    assert result.exit_code == 0, result.output
    return result


def save(lab: Lab, text: str) -> str:
    lab.want(text)
    out = str(lab.root / "a.plan")
    result = lab.run("plan", "--out", out)
    assert result.exit_code == 0, result.output
    return out


def apply_saved(lab: Lab, out: str, *more: str) -> tuple[Result, list[str]]:
    """What `apply FILE` said, and what it sent."""
    before = len(lab.sent())
    result = lab.run("apply", out, *more)
    return result, lab.sent()[before:]


def context_of(lab: Lab, node: str = "ada") -> list[int]:
    found = httpx.get(f"{lab.fleet.engines[f'{node}/ollama'].url}/api/ps").json()["models"]
    return [one["context_length"] for one in found]


def load_as_a_client(lab: Lab, context: int, keep_alive: object = -1) -> None:
    body = {"model": "chat:1", "keep_alive": keep_alive, "options": {"num_ctx": context}}
    httpx.post(f"{lab.fleet.engines['ada/ollama'].url}/api/generate", json=body, timeout=30).raise_for_status()


@pytest.mark.parametrize("via", [TAG, REQUEST])
def test_what_another_run_changed_since_is_not_changed_over(lab: Lab, via: str) -> None:
    apply(lab, chat(4096, via))
    out = save(lab, chat(8192, via))
    apply(lab, chat(16384, via))
    lab.want(chat(8192, via))
    result, sent = apply_saved(lab, out)
    assert (result.exit_code, sent, context_of(lab)) == (6, [], [16384])
    assert "model.chat:1@ada/ollama: run 2 (apply --auto-approve, by " in result.stderr
    assert "changed it since; make and approve a new plan with gpurec plan --out" in result.stderr


@pytest.mark.parametrize("via", [TAG, REQUEST])
def test_what_another_run_changed_and_changed_back_is_refused_too(lab: Lab, via: str) -> None:
    apply(lab, chat(4096, via))
    out = save(lab, chat(8192, via))
    apply(lab, chat(16384, via))
    apply(lab, chat(4096, via))
    lab.want(chat(8192, via))
    result, sent = apply_saved(lab, out)
    assert (result.exit_code, sent) == (6, [])


@pytest.mark.parametrize("via", [TAG, REQUEST])
def test_what_another_run_unloaded_is_not_loaded_anew_by_a_reload(lab: Lab, via: str) -> None:
    apply(lab, chat(4096, via) + "  code:1: {on: ada, vram: 5GiB}\n")
    out = save(lab, chat(8192, via) + "  code:1: {on: ada, vram: 5GiB}\n")
    apply(lab, "version: 1\nmodels:\n  code:1: {on: ada, vram: 5GiB}\n")
    lab.want(chat(8192, via) + "  code:1: {on: ada, vram: 5GiB}\n")
    result, sent = apply_saved(lab, out)
    assert (result.exit_code, sent) == (6, [])
    assert "changed it since" in result.stderr


def test_what_was_given_up_with_state_rm_is_not_reloaded(lab: Lab) -> None:
    apply(lab, chat(4096, REQUEST))
    out = save(lab, chat(8192, REQUEST))
    assert lab.run("state", "rm", "model.chat:1@ada/ollama").exit_code == 0
    result, sent = apply_saved(lab, out)
    assert (result.exit_code, sent) == (6, [])
    assert "(state rm" in result.stderr


def test_a_saved_unload_is_refused_where_another_run_made_something_else_of_its_model(lab: Lab) -> None:
    both = chat(4096, REQUEST) + "  code:1: {on: ada, vram: 5GiB}\n"
    only_code = "version: 1\nmodels:\n  code:1: {on: ada, vram: 5GiB}\n"
    apply(lab, both)
    out = save(lab, only_code)
    apply(lab, both.replace("4096", "8192"))
    lab.want(only_code)
    result, sent = apply_saved(lab, out)
    assert (result.exit_code, sent) == (6, [])


def test_what_a_client_made_of_it_is_not_what_the_plan_changes_from(lab: Lab) -> None:
    apply(lab, chat(4096, REQUEST))
    out = save(lab, chat(8192, REQUEST))
    load_as_a_client(lab, 2048)
    result, sent = apply_saved(lab, out)
    assert (result.exit_code, sent) == (6, [])
    assert "it has context 2048 now, the plan shows 4096" in result.stderr


def test_a_model_that_is_gone_by_itself_is_not_reloaded(lab: Lab) -> None:
    apply(lab, chat(4096, REQUEST))
    out = save(lab, chat(8192, REQUEST))
    httpx.post(f"{lab.fleet.engines['ada/ollama'].url}/api/generate", json={"model": "chat:1", "keep_alive": 0}).raise_for_status()
    result, sent = apply_saved(lab, out)
    assert (result.exit_code, sent) == (6, [])
    assert "chat:1 was resident then and is not now" in result.stderr


@pytest.mark.parametrize("via", [TAG, REQUEST])
def test_what_is_already_as_the_step_leaves_it_is_done(lab: Lab, via: str) -> None:
    apply(lab, chat(4096, via))
    out = save(lab, chat(8192, via))
    apply(lab, chat(16384, via))
    apply(lab, chat(8192, via))
    result, sent = apply_saved(lab, out)
    assert (result.exit_code, sent, context_of(lab)) == (0, [], [8192]), result.output


@pytest.mark.parametrize("via", [TAG, REQUEST])
def test_what_another_run_changed_elsewhere_or_only_looked_at_is_no_reason(lab: Lab, via: str) -> None:
    apply(lab, chat(4096, via))
    out = save(lab, chat(8192, via))
    apply(lab, chat(4096, via) + "  code:1: {on: bea, vram: 5GiB}\n")
    lab.want(chat(8192, via))
    result, _ = apply_saved(lab, out)
    assert (result.exit_code, context_of(lab)) == (0, [8192]), result.output


def test_its_own_earlier_run_is_no_other(lab: Lab) -> None:
    apply(lab, chat(4096, REQUEST))
    out = save(lab, chat(8192, REQUEST))
    lab.fleet.engines["ada/ollama"].set_fault("fail_load", models=("chat:1",))
    result, _ = apply_saved(lab, out)
    assert result.exit_code == 3, result.output
    assert context_of(lab) == []
    lab.fleet.engines["ada/ollama"].clear_faults()
    result, _ = apply_saved(lab, out, "--resume")
    assert (result.exit_code, context_of(lab)) == (0, [8192]), result.output


def test_another_run_after_its_own_unfinished_one_is_another(lab: Lab) -> None:
    apply(lab, chat(4096, REQUEST))
    out = save(lab, chat(8192, REQUEST))
    lab.fleet.engines["ada/ollama"].set_fault("fail_load", models=("chat:1",))
    assert apply_saved(lab, out)[0].exit_code == 3
    lab.fleet.engines["ada/ollama"].clear_faults()
    apply(lab, chat(16384, REQUEST))
    lab.want(chat(8192, REQUEST))
    result, sent = apply_saved(lab, out, "--resume")
    assert (result.exit_code, sent, context_of(lab)) == (6, [], [16384])


def test_a_plan_is_not_applied_to_a_state_that_was_put_back_to_before_it(lab: Lab) -> None:
    apply(lab, chat(4096, REQUEST))
    assert lab.run("state", "backup", str(lab.root / "old.db")).exit_code == 0
    apply(lab, chat(16384, REQUEST))
    out = save(lab, chat(8192, REQUEST))
    assert lab.run("state", "restore", str(lab.root / "old.db")).exit_code == 0
    result, sent = apply_saved(lab, out)
    assert (result.exit_code, sent) == (6, [])
    assert "the state was put back to serial 1, and the plan was made at serial 2" in result.stderr


def test_the_digest_is_also_over_what_a_step_changes_from(lab: Lab) -> None:
    apply(lab, chat(4096, REQUEST))
    digest = json.loads(Path(save(lab, chat(8192, REQUEST))).read_text())["digest"]
    apply(lab, chat(16384, REQUEST))
    lab.want(chat(8192, REQUEST))
    result = lab.run("apply", "--auto-approve", "--expect-digest", digest)
    assert (result.exit_code, context_of(lab)) == (6, [16384])


def test_a_replica_that_was_to_be_loaded_again_in_any_case_is_held_to_what_the_plan_shows_too(lab: Lab) -> None:
    apply(lab, chat(None))
    lab.want(chat(None))
    out = str(lab.root / "a.plan")
    assert lab.run("plan", "--replace", "model.chat:1@ada/ollama", "--out", out).exit_code == 0
    load_as_a_client(lab, 2048)
    result, sent = apply_saved(lab, out)
    assert (result.exit_code, sent) == (6, [])
