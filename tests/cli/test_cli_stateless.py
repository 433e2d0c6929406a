"""An apply whose state is missing, or lies where the next CI job wipes it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_lab import SMALL, Lab, served

from reconciler.operations.state_warnings import CHECKOUTS, checkout_of
from reconciler.sim import builtin_fleet


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    for name in CHECKOUTS:
        monkeypatch.delenv(name, raising=False)
    with served(builtin_fleet("demo").with_time_scale(0), tmp_path) as lab:
        lab.want(SMALL)
        assert lab.run("apply", "--auto-approve").exit_code == 0
        yield lab


def lose_state(lab: Lab) -> None:
    for path in lab.state.parent.iterdir():
        path.unlink()


def test_without_a_state_residents_that_nobody_named_are_counted_and_left_alone(lab: Lab) -> None:
    lose_state(lab)
    lab.want("version: 1\nmodels:\n  nomic-embed-text: {engine: ollama, on: ada, vram: 350MiB}\n")
    lab.fleet.forget_requests()
    result = lab.run("apply", "--auto-approve")
    assert result.exit_code == 0
    assert "no apply has written a state at" in result.stderr
    assert "1 resident is not in the desired state: not ours" in result.stderr
    for remedy in ("gpurec state restore FILE", "--state PATH", "gpurec import", "policy.unmanaged"):
        assert remedy in result.stderr
    assert lab.sent() == ["POST /api/show"] * len(lab.sent())
    assert lab.fleet.engines["bea/ollama"].residents
    assert "no apply has written" not in lab.run("apply", "--auto-approve").stderr


def test_a_saved_plan_says_it_too(lab: Lab) -> None:
    lose_state(lab)
    lab.want("version: 1\nmodels:\n  nomic-embed-text: {engine: ollama, on: ada, vram: 350MiB}\n")
    lab.run("plan", "--out", "p.json")
    assert "1 resident is not in the desired state" in lab.run("apply", "p.json").stderr


def test_with_nothing_resident_a_first_apply_says_nothing(lab: Lab) -> None:
    lose_state(lab)
    for engine in lab.fleet.engines.values():
        engine.restart()
    assert "Warning: there is no state" not in lab.run("apply", "--auto-approve").stderr


@pytest.mark.parametrize("name", CHECKOUTS)
def test_a_state_in_the_checkout_of_a_ci_job_is_warned_of(lab: Lab, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, str(lab.root))
    result = lab.run("apply", "--auto-approve")
    assert result.exit_code == 0
    assert f"lies in the checkout of this CI job ({name})" in result.stderr
    elsewhere = lab.root.parent / "elsewhere.db"
    assert "checkout" not in lab.run("--state", str(elsewhere), "apply", "--auto-approve").stderr


def test_a_checkout_is_told_by_whole_folders_and_through_links(tmp_path: Path) -> None:
    (tmp_path / "real" / "state").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert checkout_of(tmp_path / "link" / "state" / "x.db", {"CI_PROJECT_DIR": str(tmp_path / "real")}) == "CI_PROJECT_DIR"
    assert checkout_of(tmp_path / "real-not" / "x.db", {"CI_PROJECT_DIR": str(tmp_path / "real")}) is None
    assert checkout_of(tmp_path / "real" / "x.db", {"CI_PROJECT_DIR": "."}) is None
    assert checkout_of(tmp_path / "real" / "x.db", {}) is None
