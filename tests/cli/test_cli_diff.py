"""`gpurec diff`: two saved plans against each other."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from syrupy.assertion import SnapshotAssertion

from reconciler.cli.main import cli
from reconciler.fleet import MIB
from reconciler.operations.plan_file import save_plan
from reconciler.planning import Action, Cause, ModelStep, Plan, Precondition, Reason, plan_digest
from reconciler.planning.compare import compare_plans


def step(model: str, node: str = "gpu-a", action: Action = Action.LOAD, **fields: object) -> ModelStep:
    base = ModelStep(
        id=f"{action.value}:{model}@{node}",
        address=f"model.{model}@{node}/ollama",
        action=action,
        reason=Reason("missing", "not resident"),
        cause=Cause.PENDING,
        model=model,
        node=node,
        engine="ollama",
        engine_name=model,
        base_name=model,
        gpus=(0,),
        vram_bytes=700 * MIB,
        vram_source="declared",
        preconditions=(Precondition(f"{node}/0.free_bytes", at_least=700 * MIB),),
        after={"context": 8192},
    )
    return replace(base, **fields)  # type: ignore[arg-type]


def plan(*steps: ModelStep, **fields: object) -> Plan:
    digest = plan_digest("l1", "sha256:c", "builtin", steps)
    made = Plan("lab", "l1", 3, "sha256:c", "2026-01-01T00:00:00Z", digest, steps, unchanged=4, pending=1)
    return replace(made, **fields)  # type: ignore[arg-type]


FIRST = plan(step("a:1"), step("b:1"), step("c:1", "evil\x1b[2J"))
SECOND = plan(
    step("b:1", vram_bytes=900 * MIB, vram_source="measured", after={"context": 4096}, gpus=(1,)),
    step("a:1", seconds=9.5),
    step("d:1", action=Action.UNLOAD),
    serial=4,
    limit="gpu",
)


def diff(folder: Path, first: Plan, second: Plan, *arguments: str) -> Result:
    save_plan(folder / "a", first)
    save_plan(folder / "b", second)
    return CliRunner().invoke(cli, ["-C", str(folder), "diff", "a", "b", *arguments])


def test_what_two_plans_differ_in(tmp_path: Path, snapshot: SnapshotAssertion) -> None:
    result = diff(tmp_path, FIRST, SECOND)
    assert result.exit_code == 0
    assert result.stdout == snapshot
    assert "\x1b" not in result.stdout


def test_the_same_as_json(tmp_path: Path) -> None:
    document = json.loads(diff(tmp_path, FIRST, SECOND, "--format", "json").stdout)
    assert document["same"] is False
    assert document["moved"] is True
    assert [one["model"] for one in document["added"]] == ["d:1"]
    assert [one["model"] for one in document["removed"]] == ["c:1"]
    assert [(one["address"], [field["name"] for field in one["fields"]]) for one in document["changed"]] == [
        ("model.b:1@gpu-a/ollama", ["card", "vram_bytes", "vram_source", "after.context"])
    ]
    assert document["head"] == [{"name": "serial", "before": 3, "after": 4}, {"name": "limit", "before": None, "after": "gpu"}]
    assert (document["unchanged"], document["digests"]) == (1, [FIRST.digest, SECOND.digest])


def test_a_plan_against_itself_is_the_same(tmp_path: Path) -> None:
    result = diff(tmp_path, FIRST, FIRST)
    assert result.stdout == "The same steps in the same order (3 steps), and the same digest.\n"
    assert json.loads(diff(tmp_path, FIRST, FIRST, "--format", "json").stdout)["same"] is True


def test_times_and_estimates_are_no_difference() -> None:
    later = plan(*(replace(one, seconds=99.0) for one in FIRST.steps), created_at="2027-01-01T00:00:00Z")
    found = compare_plans(FIRST, later)
    assert found.same
    assert found.head == ()


def test_a_precondition_that_moved_is_a_changed_step() -> None:
    (one,) = compare_plans(
        plan(step("a:1")), plan(step("a:1", preconditions=(Precondition("gpu-a/0.free_bytes", at_least=800 * MIB),)))
    ).changed
    assert [(field.name, field.before, field.after) for field in one.fields] == [("precondition.gpu-a/0.free_bytes", 700 * MIB, 800 * MIB)]


def test_the_same_step_twice_is_two_steps() -> None:
    twice = plan(step("a:1"), step("a:1", id="again"))
    assert len(compare_plans(plan(step("a:1")), twice).added) == 1
    assert compare_plans(twice, twice).unchanged == 2


@pytest.mark.parametrize("name", ["none", "b"])
def test_what_is_no_plan_is_an_error_that_names_the_file(tmp_path: Path, name: str) -> None:
    save_plan(tmp_path / "a", FIRST)
    (tmp_path / "b").write_text("{}")
    result = CliRunner().invoke(cli, ["-C", str(tmp_path), "diff", "a", name])
    assert (result.exit_code, result.stdout) == (1, "")
    assert str(tmp_path / name) in result.stderr
