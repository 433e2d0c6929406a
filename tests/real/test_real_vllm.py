"""The real vLLM in a workspace: looked at only, silent while it starts. It runs once for all that is asked of it (conftest.py)."""

from __future__ import annotations

from typing import Any

import pytest
from rigs import RAM, Bench
from subjects import sleeping
from vllm import KEY, NAMES, Vllm
from workspaces import NODE, Workspace, reasons, steps

TINY, OTHER_NAME = NAMES
ADDRESS = f"model.{TINY}@{NODE}/vllm"
KEYED = {"VLLM_KEY": KEY}
pytestmark = pytest.mark.timeout(600)


def model(**keys: Any) -> dict[str, Any]:
    return {"engine": "vllm", "residency": "cpu", "vram": "1GiB", **keys}


def workspace_of(bench: Bench, url: str) -> Workspace:
    workspace = bench.workspace()
    workspace.declare({"vllm": {"url": url, "auth": {"bearer": "env:VLLM_KEY"}}}, (), RAM)
    return workspace


def plan(workspace: Workspace, *statuses: int, variables: dict[str, str] | None = None) -> dict[str, Any]:
    told = workspace.run("plan", "--format", "json", "--detailed-exitcode", variables=KEYED if variables is None else variables)
    return told.expect(*statuses).json


def test_its_model_is_adopted_under_either_name_and_another_has_no_place(bench: Bench, running_vllm: Vllm) -> None:
    recorder = bench.recorder(running_vllm)
    workspace = workspace_of(bench, recorder.url)
    workspace.want({TINY: model(), "absent": model()})
    document = plan(workspace, 3)
    assert steps(document) == [("adopt", ADDRESS)]
    assert reasons(document, "absent") == {"engine_fixed_model"}
    workspace.apply(3, variables=KEYED)
    workspace.want({"mine": model(names={"vllm": OTHER_NAME})})
    assert [action for action, _ in steps(plan(workspace, 0, 2))] == ["adopt"]
    assert recorder.changes() == []


def test_what_its_metrics_tell_of_its_start_is_compared_and_no_step_mends_it(bench: Bench, running_vllm: Vllm) -> None:
    workspace = workspace_of(bench, running_vllm.url)
    workspace.want({TINY: model(context=1024, options={"gpu_memory_utilization": 0.92, "enable_prefix_caching": False})})
    document = plan(workspace, 2)
    assert [(one["kind"], one["field"]) for one in document["drift"]] == [("engine_fixed_options", "options.enable_prefix_caching")]
    workspace.want({TINY: model(context=2048)})
    document = plan(workspace, 2)
    assert [(one["kind"], one["field"], one["applied"]) for one in document["drift"]] == [("engine_fixed_options", "context", 2048)]
    assert steps(document) == [("adopt", ADDRESS)]


@pytest.mark.parametrize(("key", "says"), [("wrong", "key_refused"), (None, "missing_key")])
def test_a_wrong_key_makes_it_unknown(bench: Bench, running_vllm: Vllm, key: str | None, says: str) -> None:
    workspace = workspace_of(bench, running_vllm.url)
    workspace.want({TINY: model()})
    document = plan(workspace, 0, 2, 4, variables={} if key is None else {"VLLM_KEY": key})
    assert steps(document) == []
    facts = workspace.run("facts", "--format", "json", variables={} if key is None else {"VLLM_KEY": key}).json
    assert says in str(facts)


def test_asleep_it_is_there(bench: Bench, running_vllm: Vllm) -> None:
    workspace = workspace_of(bench, running_vllm.url)
    workspace.want({TINY: model()})
    workspace.apply(0, variables=KEYED)
    with sleeping(running_vllm):
        document = plan(workspace, 0)
    assert (steps(document), document["drift"]) == ([], [])


def test_killed_and_started_again_it_is_unknown_until_it_answers_and_its_replica_stays(bench: Bench, running_vllm: Vllm) -> None:
    """The last one: it ends the server."""
    workspace = workspace_of(bench, running_vllm.url)
    workspace.want({TINY: model()})
    workspace.apply(0, variables=KEYED)
    for act in (running_vllm.kill, running_vllm.begin):
        act()
        document = plan(workspace, 0, 2, 4)
        assert (steps(document), document["unplaced"], document["drift"]) == ([], [], [])
        (deferred,) = document["deferred"]
        assert "still starting" in deferred["reason"]
        assert "or down" in deferred["reason"]
