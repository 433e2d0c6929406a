"""`gpurec comment` in a CI job: the plan, the reason why there is none, and the drift, each in one place."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_lab import Lab, served
from fake_forge import TOKEN, FakeForge, serving

from reconciler.forge import Forge
from reconciler.sim import builtin_fleet


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with served(builtin_fleet("demo").with_time_scale(0), tmp_path) as lab:
        yield lab


@pytest.fixture(params=list(Forge))
def forge(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeForge]:
    with serving(request.param) as fake:
        in_job(fake, tmp_path, monkeypatch)
        yield fake


@pytest.fixture
def github(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeForge]:
    with serving(Forge.GITHUB) as fake:
        in_job(fake, tmp_path, monkeypatch)
        yield fake


def in_job(fake: FakeForge, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    event = folder / "event.json"
    event.write_text(json.dumps({"pull_request": {"number": 7}}))
    for name in ("GITHUB_ACTIONS", "GITEA_ACTIONS", "FORGEJO_ACTIONS", "GITLAB_CI", "BITBUCKET_BUILD_NUMBER"):
        monkeypatch.delenv(name, raising=False)
    for name, value in fake.environ(str(event)).items():
        monkeypatch.setenv(name, value)


def test_a_plan_is_one_comment_until_there_is_nothing_to_do(lab: Lab, forge: FakeForge) -> None:
    first = lab.run("comment")
    assert (first.exit_code, first.stderr.splitlines()[-1]) == (0, "The comment of fleet demo: created.")
    text = forge.comments[0].text
    assert text.startswith("[//]: # (gpurec plan demo)\n\n### gpurec plan for `demo`: 2 to load\n")
    assert ("<details>" in text) is (forge.forge is not Forge.BITBUCKET)
    assert lab.run("apply", "--auto-approve").exit_code == 0
    assert lab.run("comment").stderr.splitlines()[-1] == "The comment of fleet demo: updated."
    assert len(forge.comments) == 1
    assert forge.comments[0].text.splitlines()[2] == "### gpurec plan for `demo`: no changes"


def test_an_empty_plan_makes_no_comment(lab: Lab, forge: FakeForge) -> None:
    lab.run("apply", "--auto-approve")
    assert lab.run("comment").stderr.splitlines()[-1] == "The comment of fleet demo: not needed."
    assert forge.comments == []


def test_a_saved_plan_is_commented_as_it_is(lab: Lab, github: FakeForge) -> None:
    assert lab.run("plan", "--out", "p.json").exit_code == 0
    digest = json.loads((lab.root / "p.json").read_text())["digest"]
    assert lab.run("comment", "p.json").exit_code == 0
    assert digest in github.comments[0].text
    assert lab.run("comment", "p.json", "--limit", "ada").exit_code == 1


def test_files_that_are_wrong_are_told_in_the_comment_and_fail_the_job(lab: Lab, github: FakeForge) -> None:
    lab.run("comment")
    lab.want("version: 1\nmodels:\n  m: {replica: 1, on: '@octocat'}\n")
    result = lab.run("comment")
    assert result.exit_code == 1
    assert "unknown key 'replica'" in result.stderr
    text = github.comments[0].text
    assert "### gpurec plan for `demo` failed" in text
    assert "- `desired/demo.yaml:3:" in text.replace(str(lab.root) + "/", "")
    assert len(github.comments) == 1


def test_the_first_reason_is_kept_where_it_cannot_be_commented_either(lab: Lab, github: FakeForge) -> None:
    lab.want("version: 2\n")
    github.faults = [(404, {}, '{"message": "gone"}', False)]
    result = lab.run("comment")
    assert result.exit_code == 1
    assert "Warning: nor could that be commented: " in result.stderr
    assert "Error: " in result.stderr
    assert "version" in result.stderr.rpartition("Error: ")[2]


def test_a_plan_that_a_guard_refuses_is_commented_and_exits_7(lab: Lab, github: FakeForge) -> None:
    assert lab.run("apply", "--auto-approve").exit_code == 0
    lab.want("version: 1\npolicy: {guards: {max_unload: 1}}\nmodels: {}\n")
    assert lab.run("comment").exit_code == 7
    assert "**Refused**" in github.comments[0].text


def test_drift_is_a_comment_of_its_own_in_a_pull_request(lab: Lab, forge: FakeForge) -> None:
    lab.run("apply", "--auto-approve")
    lab.fleet.engines["ada/ollama"].restart()
    assert lab.run("comment").exit_code == 0
    assert lab.run("comment", "--drift").exit_code == 0
    heads = [one.text.splitlines()[2] for one in forge.comments]
    assert heads == ["### gpurec plan for `demo`: 1 to load", "### gpurec drift of `demo`: 1 field drifted."]


def test_drift_at_night_is_an_issue_that_is_closed_when_it_is_gone(lab: Lab, github: FakeForge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GITHUB_EVENT_PATH")
    lab.run("apply", "--auto-approve")
    lab.fleet.engines["ada/ollama"].restart()
    assert lab.run("comment", "--drift").stderr.splitlines()[-1] == "The issue of fleet demo: created."
    assert [one.title for one in github.issues] == ["gpurec: fleet demo drifted"]
    lab.run("apply", "--auto-approve")
    assert lab.run("comment", "--drift").stderr.splitlines()[-1] == "The issue of fleet demo: closed."
    assert [one.open for one in github.issues] == [False]
    assert lab.run("comment").exit_code == 1, "a plan has no place outside of a pull request"


def test_no_output_holds_the_token(lab: Lab, github: FakeForge) -> None:
    github.faults = [(422, {}, f'{{"message": "{TOKEN}"}}', False)]
    result = lab.run("-vv", "comment")
    assert result.exit_code == 1
    assert TOKEN not in result.output


def test_a_token_on_the_command_line_is_refused(lab: Lab, github: FakeForge) -> None:
    result = lab.run("comment", "--token", "ghp_0123456789abcdef")
    assert result.exit_code == 1
    assert "write env:NAME or file:PATH" in result.stderr
    assert "ghp_0123" not in result.output


def test_another_token_and_number_may_be_named(lab: Lab, github: FakeForge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GITHUB_TOKEN")
    monkeypatch.delenv("GITHUB_EVENT_PATH")
    monkeypatch.setenv("BOT", TOKEN)
    assert lab.run("comment", "--token", "env:BOT", "--number", "7").exit_code == 0
    assert len(github.comments) == 1
