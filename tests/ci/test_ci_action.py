"""What the action, the GitLab template and the hooks do: the same commands, with what comes from outside only ever in the environment."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cli_lab import Lab, served
from fake_forge import FakeForge, serving
from ruamel.yaml import YAML

from reconciler.forge import Forge
from reconciler.sim import builtin_fleet

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "ci" / "action.sh"


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with served(builtin_fleet("demo").with_time_scale(0), tmp_path) as lab:
        yield lab


@pytest.fixture
def github() -> Iterator[FakeForge]:
    with serving(Forge.GITHUB) as fake:
        yield fake


class Job:
    """A job of a pull request, as a runner sets it up."""

    def __init__(self, lab: Lab, fake: FakeForge) -> None:
        self.root = lab.root
        event = lab.root / "event.json"
        event.write_text(json.dumps({"pull_request": {"number": 7}}))
        kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        kept["PATH"] = f"{Path(sys.executable).parent}:{kept['PATH']}"
        self.environ = {**kept, **fake.environ(str(event)), "GITHUB_STEP_SUMMARY": str(lab.root / "summary.md")}

    def run(self, command: str, **inputs: str) -> tuple[int, dict[str, str], str]:
        """The exit status, the outputs, and what stands in the log."""
        out = self.root / "output"
        out.write_text("")
        given = {f"GPUREC_ACTION_{name.upper()}": value for name, value in inputs.items()}
        done = subprocess.run(
            ["bash", SCRIPT, command],
            cwd=self.root,
            env={**self.environ, **given, "GITHUB_OUTPUT": str(out)},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        outputs = dict(line.split("=", 1) for line in out.read_text().splitlines())
        return done.returncode, outputs, done.stdout + done.stderr

    @property
    def summary(self) -> str:
        return (self.root / "summary.md").read_text()


def test_a_plan_is_commented_and_summed_up_and_its_digest_is_an_output(lab: Lab, github: FakeForge) -> None:
    job = Job(lab, github)
    status, outputs, log = job.run("plan")
    assert (status, outputs["changes"], outputs["exit-status"]) == (0, "true", "2"), log
    assert outputs["digest"] in github.comments[0].text
    assert job.summary.startswith("### gpurec plan for `demo`: 2 to load")


def test_only_the_plan_of_the_approved_digest_is_applied(lab: Lab, github: FakeForge) -> None:
    lab.run("plan", "--out", "gpurec-plan.json")
    digest = json.loads((lab.root / "gpurec-plan.json").read_text())["digest"]
    job = Job(lab, github)
    assert job.run("apply")[0] == 1
    assert job.run("apply", digest="sha256:" + "0" * 64)[0] == 6
    assert not lab.state.exists()
    assert job.run("apply", digest=digest)[0] == 0


def test_an_apply_is_summed_up_with_what_was_done_and_its_digest(lab: Lab, github: FakeForge) -> None:
    job = Job(lab, github)
    lab.run("plan", "--out", "gpurec-plan.json")
    digest = json.loads((lab.root / "gpurec-plan.json").read_text())["digest"]
    status, _, log = job.run("apply", digest=digest)
    assert status == 0, log
    first, _, approved, _, *said = job.summary.splitlines()
    assert first == "### gpurec apply: done"
    assert digest in approved
    assert any("model.nomic-embed-text@ada/ollama" in line for line in said)
    assert all(line.startswith("    ") for line in said), "what comes from nodes is no markdown"


def test_an_apply_that_fails_is_summed_up_with_what_failed(lab: Lab, github: FakeForge) -> None:
    job = Job(lab, github)
    lab.run("plan", "--out", "gpurec-plan.json")
    digest = json.loads((lab.root / "gpurec-plan.json").read_text())["digest"]
    lab.fleet.engines["ada/ollama"].kill()
    status, outputs, log = job.run("apply", digest=digest)
    assert status != 0, log
    assert outputs["exit-status"] == str(status)
    assert job.summary.startswith(f"### gpurec apply: exit status {status}\n\nApproved: plan `{digest}`")
    assert "ada" in job.summary


def test_a_plan_without_steps_says_so(lab: Lab, github: FakeForge) -> None:
    lab.run("apply", "--auto-approve")
    status, outputs, log = Job(lab, github).run("plan")
    assert (status, outputs["changes"], outputs["exit-status"]) == (0, "false", "0"), log
    assert "no changes" in (lab.root / "summary.md").read_text()
    assert github.comments == []


def test_files_that_are_wrong_fail_the_job_and_are_commented(lab: Lab, github: FakeForge) -> None:
    lab.want("version: 1\nmodels: {m: {replica: 1}}\n")
    status, outputs, log = Job(lab, github).run("plan")
    assert (status, outputs) == (1, {"exit-status": "1"}), log
    assert "failed" in github.comments[0].text
    assert "::error file=desired/demo.yaml,line=2," in log


def test_what_has_no_place_is_an_annotation_of_the_job(lab: Lab, github: FakeForge) -> None:
    lab.want("version: 1\nmodels:\n  m: {engine: ollama, vram: 900GiB}\n")
    status, _, log = Job(lab, github).run("plan")
    assert status == 0, log
    assert "::error file=desired/demo.yaml,line=3,col=3,title=gpurec::no place for m: 1 replica, needs 900" in log


def test_a_refused_plan_is_shown_before_the_job_fails(lab: Lab, github: FakeForge) -> None:
    lab.run("apply", "--auto-approve")
    lab.want("version: 1\npolicy: {guards: {max_unload: 1}}\nmodels: {}\n")
    status, outputs, log = Job(lab, github).run("plan")
    assert (status, outputs["exit-status"]) == (7, "7"), log
    assert "**Refused**" in github.comments[0].text


def test_drift_opens_an_issue_and_closes_it(lab: Lab, github: FakeForge) -> None:
    lab.run("apply", "--auto-approve")
    lab.fleet.engines["ada/ollama"].restart()
    job = Job(lab, github)
    del job.environ["GITHUB_EVENT_PATH"]
    status, outputs, log = job.run("drift")
    assert (status, outputs["changes"]) == (0, "true"), log
    assert [one.open for one in github.issues] == [True]
    lab.run("apply", "--auto-approve")
    assert job.run("drift")[1]["changes"] == "false"
    assert [one.open for one in github.issues] == [False]


FORBIDDEN = '{"message": "Resource not accessible by integration"}'


def test_a_fork_whose_token_only_reads_has_the_plan_in_the_summary_and_is_told_why_there_is_no_comment(lab: Lab, github: FakeForge) -> None:
    github.faults = [(200, {}, "[]", False), (403, {}, FORBIDDEN, False)]
    job = Job(lab, github)
    status, outputs, log = job.run("plan")
    assert (status, outputs["changes"]) == (1, "true"), log
    assert outputs["digest"] in job.summary
    assert "Resource not accessible by integration" in log
    assert "a job of a fork may only read" in log


def test_drift_is_summed_up_also_where_no_issue_may_be_written(lab: Lab, github: FakeForge) -> None:
    lab.run("apply", "--auto-approve")
    lab.fleet.engines["ada/ollama"].restart()
    github.faults = [(200, {}, "[]", False), (403, {}, FORBIDDEN, False)]
    job = Job(lab, github)
    del job.environ["GITHUB_EVENT_PATH"]
    status, outputs, log = job.run("drift")
    assert (status, outputs["changes"]) == (1, "true"), log
    assert "gpurec drift" in job.summary


def test_options_are_words_and_never_shell(lab: Lab, github: FakeForge) -> None:
    status, _, log = Job(lab, github).run("plan", options="--limit=$(touch pwned); touch pwned\n", comment="false")
    assert status == 1, log
    assert not (lab.root / "pwned").exists()
    status, outputs, log = Job(lab, github).run("plan", options="--fleet=demo\n--limit=ada\n", comment="false")
    assert (status, outputs["changes"]) == (0, "true"), log
    assert github.comments == []


def loaded(name: str) -> Any:
    return YAML(typ="safe", pure=True).load((ROOT / name).read_text())


def test_no_input_of_the_action_is_part_of_a_script() -> None:
    action = loaded("action.yml")
    steps = action["runs"]["steps"]
    assert [step["run"] for step in steps if "${{" in step.get("run", "")] == []
    used = set(re.findall(r"inputs\.([a-z-]+)", (ROOT / "action.yml").read_text()))
    assert used == set(action["inputs"])
    assert all(re.search(r"@[0-9a-f]{40}$", step["uses"]) for step in steps if "uses" in step), "pinned"


def test_hooks_and_template_call_commands_that_are_there() -> None:
    from reconciler.cli.main import COMMANDS

    entries = [hook["entry"] for hook in loaded(".pre-commit-hooks.yaml")]
    assert entries == ["gpurec validate", "gpurec render --check"]
    _, jobs = YAML(typ="safe", pure=True).load_all((ROOT / "ci" / "gitlab.yml").read_text())
    said = [line for job in jobs.values() for line in job.get("script", ())]
    called = set(re.findall(r"gpurec ([a-z]+)", " ".join([*said, *entries])))
    assert called == {"validate", "plan", "comment", "show", "apply", "drift", "render"} - {"drift"}
    assert called <= set(COMMANDS)


@pytest.mark.parametrize(
    ("desired", "status", "said"),
    [
        ("version: 1\nmodels: {nomic-embed-text: {engine: ollama, on: ollama, each: node, vram: 350MiB}}\n", 0, "2 to load"),
        ("version: 1\npolicy: {guards: {max_unload: 1}}\nmodels: {}\n", 7, "max_unload"),
        ("version: 1\nmodels: {m: {replica: 1}}\n", 1, "replica"),
    ],
    ids=["a plan", "a refused plan", "no plan"],
)
def test_the_job_of_gitlab_comments_whatever_came_of_the_plan(lab: Lab, desired: str, status: int, said: str) -> None:
    if status == 7:
        assert lab.run("apply", "--auto-approve").exit_code == 0
    lab.want(desired)
    inputs, jobs = YAML(typ="safe", pure=True).load_all((ROOT / "ci" / "gitlab.yml").read_text())
    assert "default" not in inputs["spec"]["inputs"]["install"], "no release is anywhere that a name alone would find"
    script = "\n".join(jobs["gpurec-plan"]["script"]).replace("$[[ inputs.options ]]", "")
    with serving(Forge.GITLAB) as gitlab:
        environ = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", **gitlab.environ("merge request")}
        done = subprocess.run(
            ["sh", "-e", "-c", script], cwd=lab.root, env=environ, capture_output=True, text=True, timeout=120, check=False
        )
    assert done.returncode == status, done.stderr
    (comment,) = gitlab.comments
    assert said in str(comment)
