"""Whole commands against simulated servers: what they do, what they leave alone, and their exit statuses."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from pathlib import Path

import click
import httpx
import pytest
from cli_lab import POLL, SMALL, Lab, served
from click.testing import CliRunner
from pydantic import TypeAdapter

from reconciler.cli.approval import approve
from reconciler.cli.commands.demo_script import DESIRED, demonstrate
from reconciler.cli.main import cli
from reconciler.cli.options import failure_limit
from reconciler.cli.settings import Settings
from reconciler.planning import ModelStep, plan_digest
from reconciler.sim import builtin_fleet
from reconciler.state import open_reader, open_writer
from reconciler.views import document_checksum


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with served(builtin_fleet("demo").with_time_scale(0), tmp_path) as lab:
        yield lab


def test_the_demo_does_what_it_says_and_the_tutorial_waits_before_each_of_its_commands(capsys: pytest.CaptureFixture[str]) -> None:
    waited: list[str] = []
    demonstrate(Settings(no_colour=True, poll_seconds=POLL), builtin_fleet("demo").with_time_scale(0), waited.append)
    story = capsys.readouterr().out
    assert waited == [line for line in story.splitlines() if line.startswith("$ gpurec ")]
    assert "cd /" in story
    assert story.count("$ gpurec plan") == 5
    assert story.count("No changes.") == 3
    assert "cpu_fallback" in story
    assert "exited (137)" in story
    assert "+ create  agent.analyst@emil" in story


def test_the_tutorial_needs_somebody_who_goes_on() -> None:
    result = CliRunner().invoke(cli, ["tutorial"])
    assert (result.exit_code, "gpurec demo" in result.stderr) == (1, True)


def test_the_demo_wants_what_the_workspace_of_the_repository_wants() -> None:
    repository = Path(__file__).parents[2] / "desired" / "demo.yaml"
    assert DESIRED in repository.read_text()


def test_plan_changes_no_state_and_no_node_and_exits_0(lab: Lab) -> None:
    result = lab.run("plan")
    assert result.exit_code == 0, result.output
    assert "Plan: 0 to pull, 2 to load, 0 to unload, 0 to reload. 0 unchanged." in result.stdout
    assert not lab.state.parent.exists()
    assert not [sent for sent in lab.sent() if sent != "POST /api/show"]


def test_detailed_exitcode_tells_changes_from_nothing_to_do_from_unreachable(lab: Lab) -> None:
    assert lab.run("plan", "--detailed-exitcode").exit_code == 2
    assert lab.run("apply", "--auto-approve").exit_code == 0
    assert lab.run("plan", "--detailed-exitcode").exit_code == 0
    lab.fleet.engines["bea/ollama"].kill()
    result = lab.run("plan", "--detailed-exitcode")
    assert result.exit_code == 4
    assert result.stdout.startswith("No changes.")
    assert lab.run("plan").exit_code == 0
    assert lab.run("drift").exit_code == 4
    assert lab.run("facts").exit_code == 4
    assert lab.run("apply", "--auto-approve").exit_code == 4


def test_json_is_one_document_and_nothing_else(lab: Lab) -> None:
    for arguments in (("plan",), ("drift",), ("facts",), ("inventory",), ("history",)):
        json.loads(lab.run(*arguments, "--format", "json").stdout)
    assert json.loads(lab.run("plan", "--format", "json").stdout)["summary"]["load"] == 2


def test_a_second_apply_sends_nothing(lab: Lab) -> None:
    first = lab.run("apply", "--auto-approve")
    assert "Apply complete! 2 steps: 2 done" in first.stdout
    lab.fleet.forget_requests()
    second = lab.run("apply", "--auto-approve")
    assert second.exit_code == 0
    assert second.stdout.startswith("No changes.")
    assert not [sent for sent in lab.sent() if sent != "POST /api/show"]


def test_apply_without_a_terminal_needs_approval_and_leaves_no_state(lab: Lab) -> None:
    result = lab.run("apply")
    assert result.exit_code == 1
    assert "--auto-approve" in result.stderr
    assert not lab.state.parent.exists()


def test_a_saved_plan_is_private_and_carried_out_as_it_stands(lab: Lab) -> None:
    assert lab.run("plan", "--out", "p.json", "--limit", "ada").exit_code == 0
    assert stat.S_IMODE((lab.root / "p.json").stat().st_mode) == 0o600
    result = lab.run("apply", "p.json")
    assert result.exit_code == 0, result.output
    assert lab.fleet.engines["ada/ollama"].residents
    assert not lab.fleet.engines["bea/ollama"].residents


def test_a_saved_plan_is_stale_once_a_fact_of_its_steps_the_files_or_the_state_moved(lab: Lab) -> None:
    lab.run("plan", "--out", "p.json")
    lab.run("plan", "--out", "other.json", "--exclude", "ada")
    assert lab.run("apply", "p.json").exit_code == 0
    again = lab.run("apply", "other.json")
    assert (again.exit_code, again.stderr.count("\n")) == (6, 1)
    lab.fleet.engines["ada/ollama"].restart()
    lab.run("plan", "--out", "p.json")
    httpx.request("DELETE", f"{lab.fleet.engines['ada/ollama'].url}/api/delete", json={"model": "nomic-embed-text"}).raise_for_status()
    moved = lab.run("apply", "p.json")
    assert moved.exit_code == 6
    assert "step 1, load model.nomic-embed-text@ada/ollama: nomic-embed-text:latest is not installed any more" in moved.stderr
    lab.want(SMALL + "# changed\n")
    assert lab.run("apply", "p.json").exit_code == 6
    assert not lab.fleet.engines["ada/ollama"].residents


def test_a_fact_that_no_step_of_a_saved_plan_depends_on_may_move(lab: Lab) -> None:
    assert lab.run("apply", "--auto-approve").exit_code == 0
    lab.fleet.engines["ada/ollama"].restart()
    lab.run("plan", "--out", "p.json")
    lab.fleet.engines["bea/ollama"].restart()
    result = lab.run("apply", "p.json")
    assert result.exit_code == 0, result.output
    assert lab.fleet.engines["ada/ollama"].residents
    assert not lab.fleet.engines["bea/ollama"].residents
    assert "model.nomic-embed-text@bea/ollama" in lab.run("drift").stdout


def test_a_saved_plan_goes_on_where_it_stopped_and_what_is_done_counts_as_done(lab: Lab) -> None:
    lab.run("plan", "--out", "p.json")
    never = lab.run("apply", "p.json", "--resume")
    assert (never.exit_code, never.stderr.count("\n")) == (1, 1)
    lab.fleet.engines["bea/ollama"].set_fault("fail_load", count=3)  # each try of the first run
    assert lab.run("apply", "p.json", "--keep-going").exit_code == 3
    lab.fleet.forget_requests()
    result = lab.run("apply", "p.json", "--resume")
    assert result.exit_code == 0, result.output
    assert "1 already so" in result.stdout
    assert {r.path for r in lab.fleet.engines["ada/ollama"].requests if r.method == "POST"} <= {"/api/show"}
    assert lab.run("plan", "--detailed-exitcode").exit_code == 0
    assert lab.run("apply", "--resume", "--auto-approve").exit_code == 1


def test_a_plan_made_by_hand_does_nothing_that_the_plan_of_now_does_not_do(lab: Lab) -> None:
    lab.run("plan", "--out", "p.json")
    document = json.loads((lab.root / "p.json").read_text())
    lab.fleet.forget_requests()
    for name, limit in (("llama3.1:8b", None), ("nomic-embed-text", "bea")):
        forged = json.loads(json.dumps(document).replace("nomic-embed-text", name)) | {"limit": limit}
        steps = TypeAdapter(tuple[ModelStep, ...]).validate_python(forged["steps"])
        forged["digest"] = plan_digest(forged["lineage"], forged["config_digest"], forged["placement"]["solver"], steps)
        forged["checksum"] = document_checksum(forged)
        (lab.root / "forged.json").write_text(json.dumps(forged))
        assert lab.run("show", "forged.json").exit_code == 0
        result = lab.run("apply", "forged.json")
        assert (result.exit_code, result.stderr.count("\n")) == (6, 1), result.output
    assert not [sent for sent in lab.sent() if sent != "POST /api/show"]


def test_only_the_plan_of_the_expected_digest_is_carried_out(lab: Lab) -> None:
    digest = json.loads(lab.run("plan", "--out", "p.json", "--format", "json").stdout)["digest"]
    for arguments in (("p.json",), ("--auto-approve",), ("--auto-approve", "--limit", "ada")):
        other = "sha256:" + "0" * 64 if "--limit" not in arguments else digest
        refused = lab.run("apply", *arguments, "--expect-digest", other)
        assert (refused.exit_code, refused.stdout, refused.stderr.count("\n")) == (6, "", 1)
        assert not lab.state.parent.exists()
    assert lab.run("apply", "--auto-approve", "--expect-digest", digest).exit_code == 0
    digest = json.loads(lab.run("plan", "--out", "p.json", "--format", "json").stdout)["digest"]
    assert lab.run("apply", "p.json", "--expect-digest", digest).exit_code == 0


def test_a_guard_that_refuses_exits_7_and_nothing_is_sent_by_a_fresh_or_a_saved_plan(lab: Lab) -> None:
    assert lab.run("apply", "--auto-approve").exit_code == 0
    lab.want("version: 1\nmodels: {}\n")
    lab.fleet.forget_requests()
    for arguments in (("plan", "--out", "p.json"), ("apply", "--auto-approve"), ("apply", "p.json")):
        result = lab.run(*arguments)
        assert result.exit_code == 7
        assert "guard allow_empty refuses: nothing is desired to be there, and 2 models of gpurec would be unloaded" in result.stderr
    assert "Refused\n  ! guard allow_empty" in lab.run("show", "p.json").stdout
    assert set(lab.sent()) <= {"POST /api/show"}
    lab.want("version: 1\npolicy: {guards: {allow_empty: true}}\nmodels: {}\n")
    assert lab.run("apply", "--auto-approve").exit_code == 0
    assert not lab.fleet.engines["ada/ollama"].residents


def test_a_held_lock_exits_5_and_names_its_holder(lab: Lab) -> None:
    with open_writer(lab.state, command="apply", new_folder=True):
        result = lab.run("apply", "--auto-approve")
    assert result.exit_code == 5
    assert not lab.fleet.engines["ada/ollama"].residents


def test_drift_exits_2_and_a_new_wish_is_pending_not_drift(lab: Lab) -> None:
    lab.run("apply", "--auto-approve")
    assert lab.run("drift").exit_code == 0
    lab.want(DESIRED)
    pending = lab.run("drift")
    assert pending.exit_code == 0
    assert "pending" in pending.stdout
    lab.fleet.engines["ada/ollama"].restart()
    drift = lab.run("drift")
    assert drift.exit_code == 2
    assert "! missing" in drift.stdout


def test_what_has_no_place_exits_3_after_apply(lab: Lab) -> None:
    lab.want("version: 1\nmodels:\n  llama3.1:8b: {engine: ollama, vram: 200GiB}\n")
    assert lab.run("plan").exit_code == 0
    result = lab.run("apply", "--auto-approve")
    assert result.exit_code == 3
    assert "No place for" in result.stdout


def test_a_failed_load_exits_3_and_says_why(lab: Lab) -> None:
    lab.fleet.engines["ada/ollama"].set_fault("fail_load")
    result = lab.run("apply", "--auto-approve", "--keep-going")
    assert result.exit_code == 3
    assert "Apply incomplete." in result.stdout
    assert "! failed" in result.stdout
    assert lab.fleet.engines["bea/ollama"].residents


def test_facts_of_a_file_or_of_the_state_need_no_network(lab: Lab) -> None:
    never = lab.run("plan", "--refresh", "never")
    assert never.exit_code == 1
    assert "no facts are recorded" in never.stderr
    assert lab.run("facts", "--out", "facts.json").exit_code == 0
    lab.run("apply", "--auto-approve")
    for engine in lab.fleet.engines.values():
        engine.kill()
    assert lab.run("plan", "--refresh", "never").stdout.startswith("No changes.")
    assumed = lab.run("plan", "--assume", "facts.json")
    assert "2 to load" in assumed.stdout


def test_what_apply_was_told_to_assume_is_neither_acted_on_unseen_nor_recorded(lab: Lab) -> None:
    lab.run("facts", "--out", "facts.json")
    lab.run("apply", "--auto-approve")
    lab.fleet.forget_requests()
    facts = open_reader(lab.state).recorded_facts()
    wrong = lab.run("apply", "--auto-approve", "--assume", "facts.json")  # says that nothing is resident, which is no longer so
    assert (wrong.exit_code, wrong.stderr.count("\n")) == (6, 1)
    assert "is not as the plan assumed it" in wrong.stderr
    assert not [sent for sent in lab.sent() if sent != "POST /api/show"]
    assert open_reader(lab.state).recorded_facts() == facts


@pytest.mark.parametrize("option", [("--assume", "facts.json"), ("--refresh", "never")])
def test_an_apply_from_facts_that_still_hold_records_what_it_probed_itself(lab: Lab, option: tuple[str, ...]) -> None:
    lab.run("apply", "--auto-approve")
    assert lab.run("facts", "--out", "facts.json").exit_code == 0
    lab.fleet.engines["cleo/llamacpp"].kill()
    assert lab.run("apply", "--auto-approve", *option).exit_code == 4
    recorded = open_reader(lab.state).recorded_facts()
    assert recorded is not None
    assert not recorded.nodes["cleo"].engines["llamacpp"].reachable


def test_a_pattern_that_names_nothing_is_an_error(lab: Lab) -> None:
    assert lab.run("plan", "--limit", "nowhere").exit_code == 1


def test_history_names_each_apply(lab: Lab) -> None:
    lab.run("apply", "--auto-approve")
    rows = json.loads(lab.run("history", "--format", "json").stdout)
    assert [row["result"] for row in rows] == ["done"]


@pytest.mark.parametrize(("answer", "yes"), [("yes", True), (" yes ", True), ("y", False), ("YES", False), ("", False)])
def test_only_yes_is_a_yes(monkeypatch: pytest.MonkeyPatch, answer: str, yes: bool) -> None:
    monkeypatch.setattr(click, "prompt", lambda *_, **__: answer)
    assert approve(auto_approve=False, terminal=True) is yes


@pytest.mark.parametrize(("text", "most"), [("3", 3), ("10%", 1), ("50%", 4), ("0", 0)])
def test_max_fail_is_a_number_or_a_part_rounded_up(text: str, most: int) -> None:
    limit = failure_limit(text)
    assert limit is not None
    assert limit.steps(7) == most
    with pytest.raises(click.BadParameter, match="no number of steps"):
        failure_limit("-" + text)


def test_a_new_workspace_plans_as_it_stands(tmp_path: Path) -> None:
    CliRunner().invoke(cli, ["init", str(tmp_path)])
    assert CliRunner().invoke(cli, ["-C", str(tmp_path), "validate"]).exit_code == 0
    result = CliRunner().invoke(cli, ["-C", str(tmp_path), "plan"])
    assert result.exit_code == 0, result.output
