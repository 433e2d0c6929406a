"""`gpurec watch` as a process: its lines, its signals, what systemd hears of it, and one look for cron."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest
from cli_lab import Lab, served

from reconciler.cli.settings import Settings
from reconciler.cli.watch_log import WatchLog
from reconciler.fleet import Problem
from reconciler.operations.reporter import FileWarning, StateNotice
from reconciler.service.events import WatchEnded
from reconciler.service.systemd import Systemd
from reconciler.sim import builtin_fleet


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with served(builtin_fleet("demo").with_time_scale(0), tmp_path) as lab:
        yield lab


def until(lines: IO[str], word: str) -> list[str]:
    """Lines up to the first that has the word."""
    found = []
    for line in lines:
        found.append(line.rstrip("\n"))
        if word in line:
            return found
    raise AssertionError(f"{word!r} never came: {found}")


def test_once_tells_what_is_to_do_and_ends_as_a_plan_or_an_apply(lab: Lab) -> None:
    looked = lab.run("watch", "--once")
    assert looked.exit_code == 2
    assert "pending model.nomic-embed-text@ada/ollama: to load:" in looked.stdout
    applied = lab.run("watch", "--once", "--mode", "apply")
    assert applied.exit_code == 0
    assert "load model.nomic-embed-text@ada/ollama: done after" in applied.stdout
    again = lab.run("watch", "--once")
    assert (again.exit_code, again.stdout) == (0, "")
    lab.fleet.engines["bea/ollama"].restart()
    assert lab.run("watch", "--once").exit_code == 2


def test_the_traceback_of_a_bug_in_a_look_is_on_stderr_and_only_with_vv(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: object, **__: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr("reconciler.service.watch.plan_fleet", broken)
    quiet, loud = lab.run("-v", "watch", "--once"), lab.run("-vv", "watch", "--once", "--log", "json")
    assert quiet.stderr == ""
    assert "in broken" in loud.stderr
    assert "RuntimeError: a bug" in loud.stderr
    assert "Traceback" not in quiet.stdout + loud.stdout
    assert [json.loads(line)["type"] for line in loud.stdout.splitlines()] == ["condition", "looked"]


def test_a_process_mends_reloads_and_ends_and_systemd_hears_of_it(lab: Lab, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(str(tmp_path / "notify"))
        heard.settimeout(30)
        environ = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "20000000", "PATH": "/usr/bin:/bin"}
        command = [
            sys.executable,
            "-m",
            "reconciler",
            "-C",
            str(lab.root),
            "watch",
            "--mode",
            "apply",
            "--interval",
            "1h",
            "--log",
            "json",
            "-v",
        ]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environ) as process:
            assert process.stdout is not None
            until(process.stdout, '"steps": 2, "seconds"')
            until(process.stdout, '"type": "looked"')
            lab.fleet.engines["bea/ollama"].restart()
            process.send_signal(signal.SIGHUP)
            lines = [json.loads(line) for line in until(process.stdout, '"steps": 1, "seconds"')]
            process.send_signal(signal.SIGTERM)
            rest, errors = process.communicate(timeout=30)
            assert process.returncode == 0, errors
        events = [line["type"] for line in lines]
        assert events[0] == "reloaded"
        assert [line["holds"] for line in lines if line["type"] == "condition"] == [True]
        assert json.loads(rest.splitlines()[-1])["type"] == "ended"
        datagrams = []
        while not datagrams or datagrams[-1] != "STOPPING=1":
            datagrams.append(heard.recv(4096).decode())
        assert "WATCHDOG=1" in datagrams
        status = next(text for text in datagrams if text.startswith("READY=1"))
        assert "STATUS=0 resources as wanted" in status
        assert [text.startswith("READY=1") for text in datagrams].count(True) == 1


def test_a_journal_gets_priorities_and_no_time(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOURNAL_STREAM", "8:1")
    lines = lab.run("watch", "--once").stdout.splitlines()
    assert lines.pop(0).startswith("<6>Note: set up a new state")
    assert lines
    assert all(line.startswith("<6>pending model.") for line in lines)


def test_a_loop_says_when_it_ends(capsys: pytest.CaptureFixture[str]) -> None:
    WatchLog(Settings(Path()), Systemd({}), json_lines=False, environ={})(WatchEnded())
    assert capsys.readouterr().out.split(maxsplit=1)[1] == "Ended\n"


def test_what_was_done_to_the_state_is_said_each_time_and_a_warning_of_the_files_once(capsys: pytest.CaptureFixture[str]) -> None:
    log = WatchLog(Settings(Path()), Systemd({}), json_lines=False, environ={})
    for event in (
        StateNotice("set up a new state"),
        FileWarning(Problem("odd")),
        StateNotice("set up a new state"),
        FileWarning(Problem("odd")),
    ):
        log(event)
    said = [line.partition(" ")[2] for line in capsys.readouterr().out.splitlines()]
    assert said == ["Note: set up a new state", "Warning: odd", "Note: set up a new state"]


@pytest.mark.parametrize("interval", ["0s", "100ms", "8d", "often"])
def test_an_interval_that_cannot_be_is_refused(lab: Lab, interval: str) -> None:
    result = lab.run("watch", "--interval", interval)
    assert result.exit_code == 1
    assert "--interval" in result.stderr


def test_files_that_are_wrong_at_the_start_end_it(lab: Lab) -> None:
    lab.want("models: [")
    assert lab.run("watch").exit_code == 1
