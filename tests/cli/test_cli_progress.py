"""What a run says while it goes on: bars on a terminal, a line an event elsewhere, nothing with `-q`; colour only where it is wanted."""

from __future__ import annotations

import os
import pty
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from cli_lab import Lab, served

from reconciler.cli.progress import event_line
from reconciler.execution import Event, RunStarted, StepDone, StepFailed, StepInterrupted, StepProgress, StepSkipped, StepStarted
from reconciler.planning import Action, Cause, ModelStep, Reason
from reconciler.sim import builtin_fleet

COLOUR = re.compile(r"\x1b\[[0-9;]*[1-9][0-9;]*m")
CURSOR = "\x1b[2K"
BAR = "━"
PULLED = "version: 1\nmodels:\n  mistral:7b: {engine: ollama, on: bea, vram: 5GiB}\n"
STEP = ModelStep(
    id="s", address="model.m\x1b[2J@n/e", action=Action.LOAD, reason=Reason("missing", "m"), cause=Cause.PENDING,
    model="m", node="n", engine="e", engine_name="m", base_name="m",
)  # fmt: skip


@pytest.fixture(autouse=True)
def ordinary_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "160")
    for name in ("NO_COLOR", "FORCE_COLOR", "COLORTERM", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with served(builtin_fleet("demo").with_time_scale(0), tmp_path) as lab:
        lab.want(PULLED)
        yield lab


def on_a_terminal(lab: Lab, *arguments: str, stdout_too: bool = True) -> tuple[str, str]:
    """Runs a command with stderr (and stdout) on a terminal of its own; what the terminal got, and what a pipe on stdout got."""
    master, slave = pty.openpty()
    streams = {"stderr": slave, "stdout": slave} if stdout_too else {"stderr": slave}
    with lab.process(*arguments, **streams) as process:
        os.close(slave)
        seen = read_all(master)
        piped = "" if process.stdout is None else process.stdout.read()
    assert process.returncode == 0, seen + piped
    return seen, piped


def read_all(master: int) -> str:
    parts = []
    while True:
        try:
            part = os.read(master, 65536)
        except OSError:  # how Linux tells that the other side of a terminal is closed
            part = b""
        if not part:
            os.close(master)
            return b"".join(parts).decode()
        parts.append(part)


def test_a_terminal_gets_bars_that_leave_a_line_for_each_step_and_go(lab: Lab) -> None:
    seen, _ = on_a_terminal(lab, "apply", "--auto-approve")
    assert BAR in seen
    assert CURSOR in seen
    assert COLOUR.search(seen)
    for step in ("pull", "load"):
        assert f"{step} model.mistral:7b@bea/ollama: done after" in seen
    assert BAR not in seen.rpartition(CURSOR)[2]
    assert "Apply complete!" in seen


def test_bars_on_stderr_leave_a_piped_result_plain(lab: Lab) -> None:
    seen, piped = on_a_terminal(lab, "apply", "--auto-approve", stdout_too=False)
    assert BAR in seen
    assert "\x1b" not in piped
    assert "Apply complete!" in piped
    assert not COLOUR.search(seen)


def test_nothing_but_plain_lines_goes_where_no_terminal_is(lab: Lab) -> None:
    with lab.process("apply", "--auto-approve") as process:
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "\x1b" not in out + err
    assert BAR not in err
    assert [line for line in err.splitlines() if line.endswith(": started")] == [
        "  pull model.mistral:7b@bea/ollama: started",
        "  load model.mistral:7b@bea/ollama: started",
    ]


def test_no_color_leaves_the_bars_and_takes_every_colour(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    seen, _ = on_a_terminal(lab, "apply", "--auto-approve")
    assert BAR in seen
    assert not COLOUR.search(seen)


def test_the_option_no_color_does_the_same(lab: Lab) -> None:
    assert not COLOUR.search(on_a_terminal(lab, "apply", "--auto-approve", "--no-color")[0])


def test_a_dumb_terminal_gets_plain_lines(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    seen, _ = on_a_terminal(lab, "apply", "--auto-approve")
    assert "\x1b" not in seen
    assert "load model.mistral:7b@bea/ollama: started" in seen


def test_quiet_says_nothing_on_the_way(lab: Lab) -> None:
    with lab.process("-q", "apply", "--auto-approve") as process:
        _, err = process.communicate(timeout=60)
    assert err == ""


@pytest.mark.parametrize("command", ["plan", "facts", "drift", "inventory", "validate"])
def test_colour_is_for_terminals_only(lab: Lab, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "\x1b" not in lab.run(command).output
    assert COLOUR.search(on_a_terminal(lab, command)[0])
    monkeypatch.setenv("NO_COLOR", "1")
    assert not COLOUR.search(on_a_terminal(lab, command)[0])


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (RunStarted(1, 1), "Applying 1 step…"),
        (RunStarted(1, 2), "Applying 2 steps…"),
        (RunStarted(1, 0), None),
        (StepStarted(STEP), "  load model.m\\x1b[2J@n/e: started"),
        (StepDone(STEP, 1.25), "  load model.m\\x1b[2J@n/e: done after 1.2s"),
        (StepDone(STEP, 1, satisfied=True), "  load model.m\\x1b[2J@n/e: already so after 1s"),
        (StepFailed(STEP, "oom\n", "no\x07", 2), "! load model.m\\x1b[2J@n/e: failed after 2s: no\\x07 (oom\\x0a)"),
        (StepSkipped(STEP, "c", "why\r"), "! load model.m\\x1b[2J@n/e: skipped: why\\x0d"),
        (StepInterrupted(STEP), "! load model.m\\x1b[2J@n/e: interrupted; the next plan finds out what became of it"),
        (StepProgress(replace(STEP, action=Action.PULL), "pulling", 1, 2), None),
    ],
)
def test_an_event_is_one_escaped_line(event: Event, line: str | None) -> None:
    assert event_line(event) == line
