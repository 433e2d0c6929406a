"""`gpurec lock`: whose lock it is, and breaking it only when asked to."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from syrupy.assertion import SnapshotAssertion

from reconciler.cli.main import cli
from reconciler.fleet import StateError
from reconciler.state import break_lock, look_at_lock, open_writer
from reconciler.state.process import Process
from reconciler.state.sqlite.lease import take_lease
from reconciler.views.state_text import LockRow, lock_text

FAR = Process("ann\x1b[2J", "far", "boot-2", 7, 70, "pid:[1]", "https://ci.example/7")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    with open_writer(tmp_path / "s.db", command="init"):
        pass
    return tmp_path / "s.db"


@pytest.fixture
def held(path: Path) -> Path:
    with closing(sqlite3.connect(path, isolation_level=None)) as conn:
        take_lease(conn, path, "gpurec apply", datetime.now(UTC), FAR)
    return path


def lock(path: Path, *arguments: str, answer: str | None = None) -> Result:
    return CliRunner().invoke(cli, ["--state", str(path), "lock", *arguments], input=answer)


@pytest.mark.parametrize("name", ["s.db", "none.db"])
def test_a_free_lock_is_exit_0(path: Path, name: str) -> None:
    result = lock(path.with_name(name), "status")
    assert (result.exit_code, result.stdout) == (0, "The state is not locked.\n")
    document = json.loads(lock(path.with_name(name), "status", "--format", "json").stdout)
    assert (document["held"], document["standing"], document["lease"]) == (False, "free", None)


def test_a_held_lock_is_exit_5_and_says_who_where_when_and_what(held: Path) -> None:
    result = lock(held, "status")
    assert result.exit_code == 5
    for word in ("ann\\x1b[2J on far, process 7", "gpurec apply", "https://ci.example/7", "heard of within"):
        assert word in result.stdout
    result = lock(held, "status", "--format", "json")
    assert result.exit_code == 5
    document = json.loads(result.stdout)
    assert (document["held"], document["standing"]) == (True, "fresh")
    assert {name: document["lease"][name] for name in ("host", "boot_id", "pid_namespace", "pid", "process_started", "ci")} == {
        "host": "far", "boot_id": "boot-2", "pid_namespace": "pid:[1]", "pid": 7, "process_started": 70, "ci": "https://ci.example/7",
    }  # fmt: skip


def test_a_lock_that_the_next_run_takes_over_is_exit_0(held: Path) -> None:
    with closing(sqlite3.connect(held, isolation_level=None)) as conn:
        conn.execute("UPDATE lease SET heartbeat_at = heartbeat_at - 31")
    result = lock(held, "status")
    assert result.exit_code == 0
    assert "can be taken over" in result.stdout


def test_a_lock_is_not_released_without_a_terminal_or_force(held: Path) -> None:
    result = lock(held, "release")
    assert result.exit_code == 1
    assert "--force" in result.stderr
    assert lock(held, "status").exit_code == 5


@pytest.mark.parametrize("flag", ["--force", "--yes"])
def test_a_released_lock_is_free_and_whose_it_was_is_said(held: Path, flag: str) -> None:
    result = lock(held, "release", flag)
    assert result.exit_code == 0, result.output
    assert "far, process 7" in result.stderr
    assert lock(held, "status").exit_code == 0
    with open_writer(held, command="apply") as state:
        assert state.took_over is None


@pytest.mark.parametrize(("answer", "status"), [("yes\n", 0), ("y\n", 1)])
def test_on_a_terminal_only_yes_releases(held: Path, monkeypatch: pytest.MonkeyPatch, answer: str, status: int) -> None:
    monkeypatch.setattr("click.testing._NamedTextIOWrapper.isatty", lambda self: True)
    assert lock(held, "release", answer=answer).exit_code == status
    assert lock(held, "status").exit_code == (0 if status == 0 else 5)


def test_releasing_what_nobody_holds_is_nothing_to_do(path: Path) -> None:
    result = lock(path, "release")
    assert (result.exit_code, result.stdout) == (0, "The state is not locked.\n")


def test_a_lock_that_changed_hands_meanwhile_is_not_released(held: Path) -> None:
    seen = look_at_lock(held)
    assert seen is not None
    with closing(sqlite3.connect(held, isolation_level=None)) as conn:
        conn.execute("UPDATE lease SET owner = 'another'")
    with pytest.raises(StateError, match="changed hands"):
        break_lock(held, seen)


@pytest.mark.parametrize("standing", ["running", "gone", "fresh", "expired"])
def test_what_a_lock_looks_like(standing: str, snapshot: SnapshotAssertion) -> None:
    row = LockRow(
        "ann", "far", 7, None, "gpurec apply", "2026-01-01T00:00:00Z", "2026-01-01T00:00:05Z", standing, standing in ("running", "fresh")
    )
    assert lock_text(row) == snapshot
