"""A load that fails in an apply: tried again, or, out of memory, planned again once with a higher need within what was approved."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from cli_lab import Lab, served

from reconciler.cli.settings import Settings
from reconciler.operations.proposal import plan_fleet
from reconciler.operations.replan import first_unapproved
from reconciler.planning import Action
from reconciler.sim import builtin_fleet

POLICY = "version: 1\npolicy: {remediation: {backoff: 10ms}}\n"
WANTED = POLICY + "models:\n  nomic-embed-text: {engine: ollama, on: ollama, each: node}\n"
ADA, BEA = "model.nomic-embed-text@ada/ollama", "model.nomic-embed-text@bea/ollama"


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with served(builtin_fleet("demo").with_time_scale(0), tmp_path) as lab:
        lab.want(WANTED)
        yield lab


def loads(lab: Lab, name: str) -> int:
    sent = [r for r in lab.fleet.engines["bea/ollama"].requests if r.path in ("/api/generate", "/api/embed") and r.body]
    return sum(str(r.body["model"]).startswith(name) and r.body.get("keep_alive") != 0 for r in sent if r.body)


def last_run(lab: Lab) -> dict[str, object]:
    run = json.loads(lab.run("history", "--format", "json").stdout)[0]["id"]
    found = json.loads(lab.run("history", str(run), "--format", "json").stdout)
    assert isinstance(found, dict)
    return found


def test_a_load_that_fails_twice_is_done_at_the_third_try(lab: Lab) -> None:
    lab.fleet.engines["bea/ollama"].set_fault("fail_load", models=["nomic-embed-text"], count=2)
    result = lab.run("apply", "--auto-approve")
    assert result.exit_code == 0, result.output
    assert result.stderr.count(f"load {BEA}: try ") == 2
    assert lab.run("plan", "--detailed-exitcode").exit_code == 0


def test_a_model_out_of_memory_is_loaded_again_where_the_corrected_plan_was_approved(lab: Lab) -> None:
    lab.fleet.engines["bea/ollama"].set_fault("oom", models=["nomic-embed-text"], count=1)
    lab.run("plan", "--out", "p.json")
    result = lab.run("apply", "p.json", "--parallelism", "1")
    assert result.exit_code == 0, result.output
    assert "later plans assume" in result.stderr
    assert "what is left of it was approved: 1 step." in result.stderr
    assert loads(lab, "nomic-embed-text") == 2
    run = last_run(lab)
    assert (run["result"], {step["status"] for step in run["journal"]}) == ("done", {"done"})  # type: ignore[attr-defined]  # a list of steps
    assert lab.run("plan", "--detailed-exitcode").exit_code == 0


def test_a_model_that_runs_out_of_memory_again_is_not_tried_a_third_time(lab: Lab) -> None:
    lab.fleet.engines["bea/ollama"].set_fault("oom", models=["nomic-embed-text"])
    result = lab.run("apply", "--auto-approve", "--keep-going")
    assert result.exit_code == 3
    assert loads(lab, "nomic-embed-text") == 2
    assert {step["address"]: step["status"] for step in last_run(lab)["journal"] if step["action"] == "load"} == {  # type: ignore[attr-defined]  # a list of steps
        ADA: "done",
        BEA: "failed",
    }


def test_without_remediation_a_failure_is_a_failure(lab: Lab) -> None:
    lab.want(WANTED.replace("{backoff: 10ms}", "{per_hour: 0}"))
    lab.fleet.engines["bea/ollama"].set_fault("oom", models=["nomic-embed-text"], count=1)
    assert lab.run("apply", "--auto-approve", "--keep-going").exit_code == 3
    assert loads(lab, "nomic-embed-text") == 1


def test_only_what_was_approved_may_be_in_the_second_plan(lab: Lab) -> None:
    approved = asyncio.run(plan_fleet(Settings(directory=lab.root))).plan
    assert first_unapproved(approved, approved) is None
    assert first_unapproved(approved, replace(approved, steps=approved.steps[:1])) is None
    lab.want(WANTED.replace("each: node", "each: node, context: 2048"))
    other = first_unapproved(approved, asyncio.run(plan_fleet(Settings(directory=lab.root))).plan)
    assert other is not None
    assert (other.action, other.address) == (Action.TAG, ADA)
