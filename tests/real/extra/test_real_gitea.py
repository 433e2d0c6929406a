"""`gpurec comment` and the action against a real Gitea: what it stores, what it shows, and what a token may do there."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from acting import Repository
from cli_lab import Lab, served
from gitea import BOT, OWNER, RIGHTS, STRANGER, Gitea

from reconciler.forge.place import BUDGETS, Forge
from reconciler.sim import builtin_fleet

MARK = "[//]: # (gpurec plan demo)"
EVENT = json.dumps({"pull_request": {"number": 1}})
MANY = "".join(
    f"  a-model-with-a-name-that-takes-some-room-{at:04}: {{engine: ollama, on: ollama, replicas: 2, vram: 900GiB}}\n" for at in range(600)
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gitea]:
    found = Gitea(tmp_path_factory.mktemp("gitea"))
    yield found
    print(found.process.tail())
    found.stop()


@pytest.fixture
def gitea(server: Gitea) -> Gitea:
    """Without comments and open issues."""
    for one in server.comments():
        server.ask("DELETE", f"/repos/o/r/issues/comments/{one['id']}")
    for one in server.issues():
        server.ask("PATCH", f"/repos/o/r/issues/{one['number']}", {"state": "closed"})
    return server


@pytest.fixture
def lab(tmp_path: Path, gitea: Gitea, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    """A fleet, in a job of pull request 1, with a token of the rights that the docs ask for."""
    (tmp_path / "event.json").write_text(EVENT)
    for name in ("FORGEJO_ACTIONS", "GITLAB_CI", "BITBUCKET_BUILD_NUMBER", "GITHUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    said = {"GITHUB_ACTIONS": "true", "GITEA_ACTIONS": "true", "GITHUB_API_URL": gitea.api, "GITHUB_REPOSITORY": "o/r"}
    said |= {"GITHUB_EVENT_PATH": str(tmp_path / "event.json"), "GITEA_TOKEN": gitea.token(BOT, RIGHTS)}
    for name, value in said.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "workspace").mkdir()
    with served(builtin_fleet("demo").with_time_scale(0), tmp_path / "workspace") as lab:
        yield lab


def said(lab: Lab, *arguments: str, status: int = 0) -> str:
    """The last line of `gpurec comment`."""
    result = lab.run("comment", *arguments)
    assert result.exit_code == status, result.output
    return result.stderr.splitlines()[-1]


def test_a_plan_is_one_comment_until_there_is_nothing_to_do(lab: Lab, gitea: Gitea) -> None:
    file = str(lab.root / "plan.json")
    lab.run("plan", "--out", file)
    assert said(lab, file) == "The comment of fleet demo: created."
    (one,) = gitea.comments()
    assert one["user"]["login"] == BOT
    assert one["body"].startswith(f"{MARK}\n\n### gpurec plan for `demo`: 2 to load\n")
    assert said(lab, file) == "The comment of fleet demo: is up to date.", "Gitea keeps the text as it was sent"
    assert lab.run("apply", "--auto-approve").exit_code == 0
    assert said(lab) == "The comment of fleet demo: updated."
    (again,) = gitea.comments()
    assert again["id"] == one["id"]
    assert "no changes" in again["body"].splitlines()[2]


def test_an_empty_plan_makes_no_comment(lab: Lab, gitea: Gitea) -> None:
    assert lab.run("apply", "--auto-approve").exit_code == 0
    assert said(lab) == "The comment of fleet demo: not needed."
    assert gitea.comments() == []


def test_what_is_shown_has_its_tables_and_folds_and_no_mark(lab: Lab, gitea: Gitea) -> None:
    said(lab)
    shown = gitea.shown(gitea.comments()[0]["body"])
    assert "gpurec plan demo" not in re.sub(r"<[^>]*>", "", shown)
    assert shown.count("<table") >= 1
    assert shown.count("<details") == shown.count("</details>") >= 1
    assert "<code>demo</code>" in shown


def test_a_strangers_comment_with_the_mark_is_left_alone_and_an_older_one_of_ours_points_to_the_newest(lab: Lab, gitea: Gitea) -> None:
    for user in (STRANGER, BOT, BOT):
        gitea.write(user, f"{MARK}\n\nby {user}")
    assert said(lab) == "The comment of fleet demo: updated."
    strange, older, newest = gitea.comments()
    assert strange["body"].endswith("by mallory")
    assert older["body"].endswith("There is a newer one of these below.")
    assert "2 to load" in newest["body"]


def test_a_plan_that_is_too_large_is_kept_within_the_budget_and_shown_whole(lab: Lab, gitea: Gitea) -> None:
    lab.want("version: 1\nmodels:\n" + MANY)
    assert said(lab) == "The comment of fleet demo: created."
    body = gitea.comments()[0]["body"]
    assert BUDGETS[Forge.GITEA] * 0.8 < len(body.encode()) <= BUDGETS[Forge.GITEA]
    shown = gitea.shown(body)
    assert shown.count("<details") == shown.count("</details>")
    assert "1,200 without a place" in re.sub(r"<[^>]*>", "", shown)


def test_files_that_are_wrong_are_told_in_the_comment_and_fail_the_job(lab: Lab, gitea: Gitea) -> None:
    said(lab)
    lab.want("version: 1\nmodels:\n  m: {replica: 1, on: '@mallory'}\n")
    said(lab, status=1)
    (one,) = gitea.comments()
    assert "### gpurec plan for `demo` failed" in one["body"]
    assert "unknown key" in one["body"]
    assert 'class="mention"' not in gitea.shown(one["body"])


def test_a_token_that_may_not_write_is_told_which_rights_it_needs(lab: Lab, gitea: Gitea, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITEA_TOKEN", gitea.token(BOT, "read:issue,read:user"))
    result = lab.run("comment")
    assert result.exit_code == 1
    assert "Gitea answered 403" in result.stderr
    assert "it needs to write to issues and pull requests" in result.stderr
    assert gitea.comments() == []


def test_a_token_that_may_not_ask_who_it_is_writes_over_the_newest_that_it_may_write_over(
    lab: Lab, gitea: Gitea, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITEA_TOKEN", gitea.token(BOT, "write:issue"))
    assert said(lab) == "The comment of fleet demo: created."
    gitea.write(STRANGER, f"{MARK}\n\nforged")
    assert lab.run("apply", "--auto-approve").exit_code == 0
    assert said(lab) == "The comment of fleet demo: updated."
    ours, forged = gitea.comments()
    assert "no changes" in ours["body"].splitlines()[2]
    assert forged["body"].endswith("forged")


def test_a_token_that_is_none_is_told_so_and_shown_to_nobody(lab: Lab, gitea: Gitea, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITEA_TOKEN", "0123456789" * 4)
    result = lab.run("-vv", "comment")
    assert result.exit_code == 1
    assert "the token is not valid" in result.stderr
    assert "0123456789" not in result.output


def test_drift_at_night_is_one_issue_that_is_found_among_many_and_closed(lab: Lab, gitea: Gitea, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GITHUB_EVENT_PATH")
    assert lab.run("apply", "--auto-approve").exit_code == 0
    assert said(lab, "--drift") == "The issue of fleet demo: not needed."
    lab.fleet.engines["ada/ollama"].restart()
    assert said(lab, "--drift") == "The issue of fleet demo: created."
    ours = next(one["number"] for one in gitea.issues() if one["state"] == "open")
    for at in range(60):
        gitea.ask("POST", "/repos/o/r/issues", {"title": f"another {at}", "body": "x"})
    lab.fleet.engines["bea/ollama"].restart()
    assert said(lab, "--drift") == "The issue of fleet demo: updated."
    assert lab.run("apply", "--auto-approve").exit_code == 0
    assert said(lab, "--drift") == "The issue of fleet demo: closed."
    closed = gitea.ask("GET", f"/repos/o/r/issues/{ours}")
    assert (closed["title"], closed["state"], closed["user"]["login"]) == ("gpurec: fleet demo drifted", "closed", BOT)


@pytest.mark.timeout(600)
def test_the_action_comments_and_keeps_the_issue(lab: Lab, gitea: Gitea, tmp_path: Path) -> None:
    repository = Repository(lab.root, tmp_path / "scratch", gitea.api, gitea.token(OWNER, RIGHTS), install=False)
    repository.environment["GITEA_ACTIONS"] = "true"
    planned = repository.act("pull_request", EVENT)
    assert planned.status == 0, planned.log
    digest = planned.output("digest")
    assert digest is not None
    assert digest in gitea.comments()[0]["body"]
    applied = repository.act("push", PLAN_RUN="1", PLAN_DIGEST=digest)
    assert applied.status == 0, applied.log
    lab.fleet.engines["ada/ollama"].restart()
    found = repository.act("schedule")
    assert found.status == 0, found.log
    assert [one["title"] for one in gitea.issues() if one["state"] == "open"] == ["gpurec: fleet demo drifted"]
