"""Models with hours, as a user sees them: facts of one time, a plan that was saved in another."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cli_lab import SMALL, Lab, served

from reconciler.operations import clock
from reconciler.sim import builtin_fleet

HOURS = SMALL.replace("vram: 350MiB", 'vram: 350MiB, when: {hours: "08:00-18:00 Europe/Berlin", days: mon-fri}')
INSIDE, OUTSIDE = datetime(2026, 1, 5, 12, tzinfo=UTC), datetime(2026, 1, 5, 20, tzinfo=UTC)


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with served(builtin_fleet("demo").with_time_scale(0), tmp_path) as lab:
        lab.want(HOURS)
        yield lab


def at(monkeypatch: pytest.MonkeyPatch, moment: datetime) -> None:
    monkeypatch.setattr(clock, "moment", lambda: moment)


def test_cli_what_is_loaded_in_its_hours_is_unloaded_after_them_and_the_plan_says_why(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    at(monkeypatch, INSIDE)
    assert lab.run("apply", "--auto-approve").exit_code == 0
    at(monkeypatch, OUTSIDE)
    shown = lab.run("plan", "--detailed-exitcode")
    assert shown.exit_code == 2, shown.output
    assert "is wanted at mon-fri 08:00-18:00 Europe/Berlin only" in shown.output
    document = json.loads(lab.run("plan", "--format", "json").stdout)
    assert document["hours"] == [{"model": "nomic-embed-text", "wanted": False, "until": "2026-01-06T07:00:00Z"}]
    assert "is wanted at mon-fri" in lab.run("explain", "model.nomic-embed-text@ada/ollama").output
    assert lab.run("apply", "--auto-approve").exit_code == 0
    assert lab.run("plan", "--detailed-exitcode").exit_code == 0
    assert lab.run("status").exit_code == 0
    assert lab.run("drift").exit_code == 0
    told = lab.run("explain", "model.nomic-embed-text")
    assert told.exit_code == 0, told.output
    assert "next from 2026-01-06T07:00:00Z on" in told.output


def test_cli_a_plan_of_one_hour_is_refused_in_another(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    at(monkeypatch, INSIDE)
    assert lab.run("plan", "--out", "p.json").exit_code == 0
    at(monkeypatch, OUTSIDE)
    refused = lab.run("apply", "p.json")
    assert refused.exit_code == 6
    assert "the hours of model 'nomic-embed-text' ended since the plan was made" in refused.output
    assert set(lab.sent()) <= {"POST /api/show"}, "which only asks"


def test_cli_a_saved_plan_with_hours_is_carried_out_within_them(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    at(monkeypatch, INSIDE)
    assert lab.run("plan", "--out", "p.json").exit_code == 0
    assert lab.run("show", "p.json").exit_code == 0
    assert lab.run("apply", "p.json").exit_code == 0


def test_cli_facts_of_another_hour_give_the_plan_of_that_hour(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    at(monkeypatch, OUTSIDE)
    assert lab.run("facts", "--out", "night.json").exit_code == 0
    at(monkeypatch, INSIDE)
    assert json.loads(lab.run("plan", "--assume", "night.json", "--format", "json").stdout)["summary"]["load"] == 0
    assert json.loads(lab.run("plan", "--format", "json").stdout)["summary"]["load"] == 2
    facts = json.loads((lab.root / "night.json").read_text())
    facts["facts"]["at"] = "yesterday"
    (lab.root / "night.json").write_text(json.dumps(facts))
    refused = lab.run("plan", "--assume", "night.json")
    assert refused.exit_code == 1
    assert "the facts are of the time 'yesterday', which is none" in refused.output
