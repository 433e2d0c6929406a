"""Two applies on one state: one waits, or is refused; one that was stopped for too long and wakes up records nothing more."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from subprocess import Popen

import pytest
from cli_lab import SMALL, Lab, served

from reconciler.sim import builtin_fleet
from reconciler.state import look_at_lock


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with served(builtin_fleet("demo").with_time_scale(0), tmp_path) as lab:
        lab.want(SMALL)
        yield lab


def hang_load(lab: Lab) -> None:
    lab.fleet.engines["bea/ollama"].set_fault("hang_load")


def let_load(lab: Lab) -> None:
    """The load that hangs ends with its server; the next ones are as usual."""
    lab.fleet.engines["bea/ollama"].clear_faults()
    lab.fleet.engines["bea/ollama"].restart()


def wait_for_line(process: Popen[str], says: str) -> None:
    assert process.stderr is not None
    assert any(says in line for line in process.stderr), f"ended without saying {says!r}"


def runs(lab: Lab) -> list[tuple[str, str]]:
    """Command and result of every run, the first one first."""
    found = json.loads(lab.run("history", "--format", "json").stdout)
    return [(run["command"], run["result"]) for run in reversed(found)]


def test_the_second_apply_is_refused_with_5_or_waits_and_finds_nothing_left(lab: Lab) -> None:
    hang_load(lab)
    with lab.process("apply", "--auto-approve") as first:
        wait_for_line(first, "bea/ollama: started")
        with lab.process("apply", "--auto-approve", "--keep-going") as refused:
            _, said = refused.communicate(timeout=60)
        assert refused.returncode == 5
        assert f"process {first.pid}" in said
        with lab.process("apply", "--auto-approve", "--lock-timeout", "60s") as waiting:
            wait_for_line(waiting, "Waiting for the lock, at most 1m: the state is locked by")
            let_load(lab)
            first.communicate(timeout=60)
            out, said = waiting.communicate(timeout=60)
        assert first.returncode == 0
    assert waiting.returncode == 0, said
    assert out.startswith("No changes.")
    assert runs(lab) == [("apply --auto-approve", "done"), ("apply --auto-approve --lock-timeout 60.0", "done")]
    loads = [r for engine in lab.fleet.engines.values() for r in engine.requests if r.path in ("/api/generate", "/api/embed")]
    assert len(loads) == 3  # one was lost with its server, and sent again by the same apply


def test_a_stopped_holder_here_keeps_its_lock_however_old_its_heartbeat(lab: Lab) -> None:
    hang_load(lab)
    with lab.process("apply", "--auto-approve") as first:
        wait_for_line(first, "bea/ollama: started")
        os.kill(first.pid, signal.SIGSTOP)
        forget_heartbeat(lab)
        lock = look_at_lock(lab.state)
        assert lock is not None
        assert lock.standing.holds
        assert lab.run("apply", "--auto-approve").exit_code == 5
        os.kill(first.pid, signal.SIGCONT)
        let_load(lab)
        _, said = first.communicate(timeout=60)
    assert first.returncode == 0, said
    assert runs(lab) == [("apply --auto-approve", "done")]


def test_a_holder_elsewhere_that_slept_past_its_expiry_wakes_up_and_records_nothing(lab: Lab) -> None:
    hang_load(lab)
    with lab.process("apply", "--auto-approve") as first:
        wait_for_line(first, "bea/ollama: started")
        os.kill(first.pid, signal.SIGSTOP)
        forget_heartbeat(lab, boot="another machine")
        let_load(lab)
        taken = lab.run("apply", "--auto-approve")
        assert taken.exit_code == 0, taken.output
        assert "took over the lock" in taken.stderr
        before = rows(lab)
        os.kill(first.pid, signal.SIGCONT)
        _, said = first.communicate(timeout=60)
    assert first.returncode == 1
    assert "the lock of this run was taken over by another, so nothing more is written" in said
    assert rows(lab) == before
    assert not list(lab.state.parent.glob("*.rescue-*"))
    assert lab.run("plan", "--detailed-exitcode").exit_code == 0


def forget_heartbeat(lab: Lab, boot: str | None = None) -> None:
    """As if the holder had not been heard of for long, or (`boot`) ran on another machine."""
    with closing(sqlite3.connect(lab.state, timeout=10)) as conn:
        conn.execute("UPDATE lease SET heartbeat_at = 0, boot = ifnull(?, boot)", (boot,))
        conn.commit()
    for path in lab.state.parent.glob("demo.db*"):
        os.utime(path, (0, 0))


def rows(lab: Lab) -> list[tuple[object, ...]]:
    """Everything in the state."""
    with closing(sqlite3.connect(lab.state)) as conn:
        names = [str(name) for (name,) in conn.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")]
        return [(name, *row) for name in names for row in conn.execute(f"SELECT * FROM {name}")]
