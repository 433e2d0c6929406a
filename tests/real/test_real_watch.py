"""`gpurec watch` beside a real Ollama and a real llama.cpp router: what a restart took away is back, and each thing is said once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from rigs import Bench, Rig
from waiting import wait_until

PLACES = {"ollama": ("ollama", ()), "router": ("llamacpp", ())}


@pytest.fixture(params=PLACES)
def rig(request: pytest.FixtureRequest, bench: Bench) -> Rig:
    kind, sizes = PLACES[request.param]
    return bench.rig(kind, *sizes)


@contextmanager
def watching(rig: Rig, *arguments: str) -> Iterator[list[dict[str, Any]]]:
    """The loop as a process of its own; its lines are there when it has ended."""
    lines: list[dict[str, Any]] = []
    command = [
        sys.executable,
        "-m",
        "reconciler",
        "-C",
        str(rig.workspace.folder),
        "watch",
        "--interval",
        "1s",
        "--log",
        "json",
        *arguments,
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=dict(os.environ)) as process:
        try:
            yield lines
        finally:
            process.send_signal(signal.SIGTERM)
            said, _ = process.communicate(timeout=60)
            lines.extend(json.loads(line) for line in said.splitlines())
    assert process.returncode == 0


def of_topic(lines: list[dict[str, Any]], topic: str) -> list[bool]:
    return [line["holds"] for line in lines if line["type"] == "condition" and line["topic"] == topic]


def test_what_a_restart_took_away_is_back_and_each_thing_is_said_once(rig: Rig) -> None:
    rig.want("gemma")
    with watching(rig, "--mode", "apply") as lines:
        wait_until(lambda: "gemma" in rig.workspace.run("state", "list").out or None, 60, "the first apply is over")
        rig.server.kill()
        rig.server.start()
        wait_until(lambda: rig.residents() == {"gemma"} or None, 60, "the model is back")
        wait_until(lambda: rig.workspace.run("drift", "--format", "json").json["summary"]["drift"] == 0 or None, 60, "no drift is left")
    steps = [line["action"] for line in lines if line["type"] == "step_done"]
    assert steps == ["load", "load"]
    assert of_topic(lines, "pending")[:2] == [True, False]
    assert of_topic(lines, "drift")[:1] == [True]
    rig.workspace.expect_nothing_to_do()


def test_observing_tells_a_restart_and_sends_nothing(rig: Rig) -> None:
    rig.want("gemma")
    rig.workspace.apply(0)
    rig.unload("gemma")
    rig.recorder.forget()
    with watching(rig, "-v") as lines:
        wait_until(lambda: len([one for one in rig.recorder.requests if one.method == "GET"]) > 6 or None, 60, "several looks")
    assert rig.recorder.changes() == []
    assert of_topic(lines, "drift") == [True]
    assert rig.residents() == set()
