"""A kind of resource is two files: how it is planned, and how it is carried out. Nothing else of the program knows of it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from note_actor import NOTE
from note_kind import NoteStep

from reconciler.operations.observation import PROBE_ALL
from reconciler.operations.plan_file import read_plan, save_plan
from reconciler.operations.proposal import Proposal, plan_fleet
from reconciler.operations.resource_types import RESOURCE_TYPES
from reconciler.operations.run import ApplyOptions, carry_out
from reconciler.operations.saved_plan_checks import first_stale_resource
from reconciler.operations.settings import WorkspaceSettings
from reconciler.views import plan_text


@pytest.fixture
def settings(tmp_path: Path) -> WorkspaceSettings:
    for folder in ("inventories", "desired", "state"):
        (tmp_path / folder).mkdir()
    (tmp_path / "inventories" / "lab.yaml").write_text("all: {hosts: {a: {gpus: [], probe: {via: none}}}}\n")
    wish(tmp_path, "{motto: keep it plain}")
    return WorkspaceSettings(tmp_path, poll_seconds=0.0, resource_types=(*RESOURCE_TYPES, NOTE))


def wish(root: Path, notes: str) -> None:
    (root / "desired" / "lab.yaml").write_text(f"version: 1\nnotes: {notes}\n")


def planned(settings: WorkspaceSettings) -> Proposal:
    return asyncio.run(plan_fleet(settings, PROBE_ALL))


def applied(settings: WorkspaceSettings) -> Proposal:
    proposal = planned(settings)
    result = asyncio.run(carry_out(settings, proposal, ApplyOptions()))
    assert {one.status.value for one in result.steps} <= {"done", "satisfied"}, result.steps
    return proposal


def shown(proposal: Proposal) -> list[str]:
    return [f"{step.action} {step.address}" for step in proposal.plan.steps]


def test_a_note_is_created_kept_changed_and_removed(settings: WorkspaceSettings) -> None:
    assert shown(applied(settings)) == ["create note.motto@local"]
    assert (settings.directory / "motto").read_text() == "keep it plain"
    assert planned(settings).plan.empty
    assert planned(settings).plan.unchanged == 1
    wish(settings.directory, "{motto: less code}")
    assert shown(applied(settings)) == ["update note.motto@local"]
    assert planned(settings).plan.empty
    wish(settings.directory, "{}")
    assert shown(applied(settings)) == ["remove note.motto@local"]
    assert not (settings.directory / "motto").exists()
    assert planned(settings).plan.empty


def test_a_note_that_somebody_changed_or_removed_is_drift_and_put_right(settings: WorkspaceSettings) -> None:
    applied(settings)
    (settings.directory / "motto").write_text("be clever")
    found = planned(settings).plan
    assert [(one.address, one.kind, one.applied, one.found) for one in found.drift] == [
        ("note.motto@local", "value", "keep it plain", "be clever")
    ]
    assert [step.cause.value for step in found.steps] == ["drift"]
    (settings.directory / "motto").unlink()
    assert [one.kind for one in planned(settings).plan.drift] == ["missing"]
    assert shown(applied(settings)) == ["create note.motto@local"]
    assert planned(settings).plan.empty


def test_what_is_there_as_wanted_is_adopted_and_never_written(settings: WorkspaceSettings) -> None:
    path = settings.directory / "motto"
    path.write_text("keep it plain")
    before = path.stat().st_mtime_ns
    assert shown(applied(settings)) == ["adopt note.motto@local"]
    assert path.stat().st_mtime_ns == before
    assert planned(settings).plan.empty


def test_what_somebody_else_changed_is_left_there_when_it_is_no_longer_wanted(settings: WorkspaceSettings) -> None:
    applied(settings)
    (settings.directory / "motto").write_text("mine now")
    wish(settings.directory, "{}")
    found = planned(settings).plan
    assert (found.steps, found.forgotten) == ((), ("note.motto@local",))
    applied(settings)
    assert (settings.directory / "motto").read_text() == "mine now"
    assert planned(settings).plan.forgotten == ()


def test_a_saved_plan_holds_its_steps_and_is_refused_once_the_note_moved(settings: WorkspaceSettings) -> None:
    proposal = planned(settings)
    path = settings.directory / "saved.plan"
    save_plan(path, proposal.plan)
    kinds = [one.kind for one in settings.types()]
    saved = read_plan(path, kinds)
    assert saved.steps == proposal.plan.steps
    assert isinstance(saved.steps[0], NoteStep)
    assert first_stale_resource(saved, planned(settings)) is None
    (settings.directory / "motto").write_text("something else")
    moved = first_stale_resource(saved, planned(settings))
    assert moved is not None
    assert moved.why == "it is there now"
    (settings.directory / "motto").write_text("keep it plain")
    assert first_stale_resource(saved, planned(settings)) is None


def test_a_note_is_shown_like_any_other_resource(settings: WorkspaceSettings) -> None:
    assert "+ create  note.motto@local  is wanted and not there" in plan_text(planned(settings).plan)


def test_a_step_that_no_longer_fits_when_it_runs_is_skipped(settings: WorkspaceSettings) -> None:
    proposal = planned(settings)
    (settings.directory / "motto").write_text("came meanwhile")
    result = asyncio.run(carry_out(settings, proposal, ApplyOptions()))
    assert [(one.status, one.code) for one in result.steps] == [("skipped", "changed_since_plan")]
    assert (settings.directory / "motto").read_text() == "came meanwhile"
