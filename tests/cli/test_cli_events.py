"""What programs follow: an apply as lines of JSON, and mistakes of files as annotations, a code quality report and SARIF."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from cli_lab import Lab, served

from reconciler.execution import Event
from reconciler.operations import event_document
from reconciler.operations.reporter import Message, Probing
from reconciler.sim import builtin_fleet

WRONG = "version: 1\nmodels:\n  a:\n    replica: 1\n  b: {vram: 5}\n"


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    for name in ("CI_PROJECT_DIR", "BITBUCKET_CLONE_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GITHUB_WORKSPACE", str(tmp_path))
    with served(builtin_fleet("demo").with_time_scale(0), tmp_path / "gpu" if not (tmp_path / "gpu").mkdir() else tmp_path) as lab:
        yield lab


def events(text: str) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in text.splitlines()]
    assert text.isascii()
    assert {one["format_version"] for one in found} == {"1.0"}
    assert all(one["at"].endswith("Z") for one in found)
    return found


def test_an_apply_is_followed_from_its_plan_to_its_result(lab: Lab) -> None:
    result = lab.run("apply", "--auto-approve", "--format", "ndjson")
    assert result.exit_code == 0
    found = events(result.stdout)
    assert [one["type"] for one in found if one["type"] not in ("notice", "warning", "node_probed")] == [
        "probing_started", "probing_ended", "plan", "run_started", *["step_started"] * 2, *["step_done"] * 2, "run_finished", "result",
    ]  # fmt: skip
    plan, last = next(one for one in found if one["type"] == "plan"), found[-1]
    assert (plan["fleet"], plan["summary"]["load"], plan["digest"][:7]) == ("demo", 2, "sha256:")
    assert (last["serial"], last["exit_status"], last["interrupted"]) == (1, 0, False)
    done = {one["id"] for one in found if one["type"] == "step_done"}
    assert done == {one["id"] for one in last["steps"] if one["status"] == "done"}


def test_what_fails_is_told_with_its_code_and_the_status_of_the_process(lab: Lab) -> None:
    lab.fleet.engines["ada/ollama"].set_fault("fail_load")
    result = lab.run("apply", "--auto-approve", "--format", "ndjson", "--keep-going")
    found = events(result.stdout)
    failed = [one for one in found if one["type"] == "step_failed"]
    assert [one["address"] for one in failed] == ["model.nomic-embed-text@ada/ollama"]
    assert failed[0]["code"]
    assert (result.exit_code, found[-1]["exit_status"]) == (3, 3)
    assert {one["status"] for one in found[-1]["steps"]} == {"done", "failed"}


def test_a_saved_plan_that_is_stale_ends_with_an_error_event(lab: Lab) -> None:
    lab.run("plan", "--out", "p.json")
    lab.want("version: 1\nmodels: {}\n")
    result = lab.run("apply", "p.json", "--format", "ndjson")
    last = events(result.stdout)[-1]
    assert (result.exit_code, last["type"], last["exit_status"]) == (6, "error", 6)
    assert last["problems"][0]["what"] in result.stderr


def test_events_ask_nothing(lab: Lab) -> None:
    result = lab.run("apply", "--format", "ndjson")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "use --auto-approve, or the FILE of a saved plan" in result.stderr


def test_every_event_of_an_operation_has_a_form() -> None:
    names = {one.__name__ for of in (Event, Probing, Message) for one in get_args(of)}
    said = Path(event_document.__file__).read_text()
    assert [name for name in sorted(names) if f"case {name}(" not in said] == []


def test_mistakes_are_annotations_at_their_lines(lab: Lab) -> None:
    lab.want(WRONG)
    result = lab.run("validate", "--format", "github")
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    assert lines[0].startswith("::error file=gpu/desired/demo.yaml,line=4,col=5,title=gpurec::unknown key 'replica'")
    assert len(lines) == 2
    assert result.stderr.count("Error: ") == 2


def test_a_name_cannot_forge_a_command_of_the_job(lab: Lab) -> None:
    lab.want('version: 1\nmodels:\n  a:\n    "x\\n::error file=y::z\\r%0A::add-mask::a": 1\n')
    lines = lab.run("validate", "--format", "github").stdout.splitlines()
    assert [line.startswith("::error file=gpu/desired/demo.yaml,line=4,") for line in lines] == [True]
    assert "%250A" in lines[0]


TOO_LARGE = """\
version: 1
priority_models: [listed]
models:
  vast: {engine: ollama, vram: 900GiB}
  maybe: {engine: ollama, vram: 900GiB, best_effort: true}
  listed: {engine: ollama, vram: 900GiB}
"""


def test_what_a_plan_leaves_without_a_place_is_an_annotation_at_the_line_that_asks_for_it(lab: Lab) -> None:
    lab.want(TOO_LARGE)
    assert lab.run("plan", "--out", "plan.json").exit_code == 0
    result = lab.run("validate", "--plan", "plan.json", "--format", "github")
    assert result.exit_code == 0, result.stderr
    said = sorted(line.partition(": needs")[0].replace("gpu/desired/demo.yaml", "FILE") for line in result.stdout.splitlines())
    assert [(line.split(",col")[0], line.split("::")[2].split(":")[0]) for line in said] == [
        ("::error file=FILE,line=4", "no place for vast"),
        ("::error file=FILE,line=6", "no place for listed"),
        ("::warning file=FILE,line=5", "no place for maybe"),
    ]
    assert "needs 900.0 GiB" in result.stdout


def test_a_guard_that_refuses_a_plan_is_told_beside_the_lines_too(lab: Lab) -> None:
    lab.run("apply", "--auto-approve")
    lab.want("version: 1\npolicy: {guards: {max_unload: 1}}\nmodels: {}\n")
    assert lab.run("plan", "--out", "plan.json").exit_code == 7
    assert "::error title=gpurec::model." in lab.run("validate", "--plan", "plan.json", "--format", "github").stdout


def test_a_plan_of_another_fleet_is_not_told_beside_these_lines(lab: Lab) -> None:
    lab.run("plan", "--out", "plan.json")
    for folder in ("inventories", "desired"):
        shutil.copy(lab.root / folder / "demo.yaml", lab.root / folder / "other.yaml")
    result = lab.run("validate", "--fleet", "other", "--plan", "plan.json", "--format", "github")
    assert (result.exit_code, "a plan of fleet 'demo', not of 'other'" in result.stderr) == (1, True)


def test_mistakes_are_a_code_quality_report(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GITHUB_WORKSPACE")
    monkeypatch.setenv("CI_PROJECT_DIR", str(lab.root))
    lab.want(WRONG)
    found = json.loads(lab.run("validate", "--format", "gitlab").stdout)
    assert [(one["location"], one["severity"]) for one in found] == [
        ({"path": "desired/demo.yaml", "lines": {"begin": 4}}, "major"),
        ({"path": "desired/demo.yaml", "lines": {"begin": 5}}, "major"),
    ]
    assert len({one["fingerprint"] for one in found}) == 2


def test_mistakes_are_sarif(lab: Lab) -> None:
    lab.want(WRONG)
    log = json.loads(lab.run("validate", "--format", "sarif").stdout)
    (run,) = log["runs"]
    assert (log["version"], run["tool"]["driver"]["name"]) == ("2.1.0", "gpurec")
    assert {one["ruleId"] for one in run["results"]} <= {one["id"] for one in run["tool"]["driver"]["rules"]}
    place = run["results"][0]["locations"][0]["physicalLocation"]
    assert place["artifactLocation"] == {"uri": "gpu/desired/demo.yaml", "uriBaseId": "%SRCROOT%"}
    assert place["region"] == {"startLine": 4, "startColumn": 5}


def test_sound_files_have_an_empty_report_and_paths_are_those_of_the_checkout(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    assert lab.run("validate", "--format", "github").stdout == ""
    assert json.loads(lab.run("validate", "--format", "sarif").stdout)["runs"][0]["results"] == []
    lab.want(WRONG)
    monkeypatch.setenv("GITHUB_WORKSPACE", os.sep + "elsewhere")
    assert "file=" not in lab.run("validate", "--format", "github").stdout
