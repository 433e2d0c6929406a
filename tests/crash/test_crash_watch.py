"""A loop that is killed again and again while its fleet plays: the state stays whole, nothing is sent twice, and it converges."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from contextlib import closing
from pathlib import Path

import pytest
from cli_lab import Lab, served
from kills import FIRST, THEN, Victims, check_whole, installed_on, ran, repeated

from reconciler.sim import builtin_fleet
from reconciler.state import open_reader

LOOP = ("watch", "--mode", "apply", "--interval", "1s")
ROUND = 10
"""Kills of one fleet, after which it must converge."""
ROUNDS = max(1, int(os.environ.get("KILLS", "100")) // (5 * ROUND))
LONGEST = 1500
"""Milliseconds until a kill; a look with its apply takes about half of that."""


def play(lab: Lab, chance: random.Random) -> None:
    """What happens to a fleet beside its loop: an engine starts again, the files change, or nothing."""
    what = chance.randrange(4)
    if what == 0:
        name = chance.choice(sorted(lab.fleet.engines))
        lab.fleet.do(lab.fleet.engines[name].restart)
    elif what == 1:
        lab.want(chance.choice((FIRST, THEN)))


def drawn(chance: random.Random) -> tuple[str, int]:
    """A kill at a time (ms), at a commit, or at a request."""
    when = chance.choice(("time", "time", "before commit", "after commit", "before request", "after request"))
    return when, chance.randrange(1, LONGEST) if when == "time" else chance.randrange(1, 20 if "commit" in when else 5)


@pytest.mark.parametrize("number", range(ROUNDS))
def test_a_loop_that_is_killed_again_and_again_converges_and_repeats_nothing(tmp_path: Path, victims: Victims, number: int) -> None:
    chance = random.Random(f"{os.environ['SEED']} watch {number}")
    root = tmp_path / "w"
    root.mkdir()
    with served(builtin_fleet("demo").with_time_scale(0), root) as lab:
        lab.want(FIRST)
        for _ in range(ROUND):
            play(lab, chance)
            resident, installed = {name: set(engine.residents) for name, engine in lab.fleet.engines.items()}, installed_on(lab)
            lab.fleet.forget_requests()
            when, at = drawn(chance)
            # one that would live on is ended by time: a loop has no end of its own
            end = victims.end(lab, LOOP, when if when == "time" else f"{when}, or time", at, (at if when == "time" else LONGEST) / 1000)
            assert end.killed, end
            assert "Traceback" not in end.said
            assert repeated(lab, resident, installed) == []
            check_whole(lab)
        ran(lab, "watch", "--mode", "apply", "--once")
        assert json.loads(ran(lab, "plan", "--format", "json"))["steps"] == []
        assert json.loads(ran(lab, "drift", "--format", "json"))["drift"] == []
        check_whole(lab)
        with closing(open_reader(lab.state)) as state:
            assert [run.result for run in state.runs() if run.result == "running"] == []


def test_of_two_loops_on_one_state_one_applies_at_a_time_and_nothing_is_sent_twice(tmp_path: Path) -> None:
    with served(builtin_fleet("demo").with_time_scale(1), tmp_path) as lab:
        lab.want(FIRST)
        loops = [lab.process(*LOOP, "--log", "json") for _ in range(2)]
        try:
            wait_for(lambda: lab.state.exists() and not json.loads(lab.run("plan", "--format", "json").stdout)["steps"])
            lab.fleet.do(lab.fleet.engines["ada/ollama"].restart)
            wait_for(lambda: "nomic-embed-text" in str(lab.fleet.engines["ada/ollama"].residents))
        finally:
            for one in loops:
                one.send_signal(signal.SIGTERM)
            said = [one.communicate(timeout=60) for one in loops]
        assert [(one.returncode, errors) for one, (_, errors) in zip(loops, said, strict=True)] == [(0, "")] * 2
        loads = [request.body for request in lab.fleet.engines["ada/ollama"].requests if request.path in ("/api/embed", "/api/generate")]
        assert len(loads) == 2, "once at the beginning, once after the restart"


def test_a_loop_takes_over_from_one_that_was_stopped_and_the_stopped_one_writes_nothing_more(tmp_path: Path) -> None:
    with served(builtin_fleet("demo").with_time_scale(0), tmp_path) as lab:
        lab.want(FIRST)
        engine = lab.fleet.engines["ada/ollama"]
        lab.fleet.do(lambda: engine.set_fault("slow", seconds=600, paths=["/api/embed"]))
        stopped = lab.process(*LOOP)
        try:
            wait_for(lambda: any(request.path == "/api/embed" for request in engine.requests))
            stopped.send_signal(signal.SIGSTOP)
            lab.fleet.do(engine.clear_faults)
            assert lab.run("apply", "--auto-approve").exit_code == 5, "it lives, so its lock stands until its time is up"
            lab.run("lock", "release", "--yes")
            ran(lab, "watch", "--mode", "apply", "--once")
            with closing(open_reader(lab.state)) as state:
                serial = state.applied().serial
        finally:
            stopped.send_signal(signal.SIGCONT)
            stopped.send_signal(signal.SIGKILL)
            stopped.communicate(timeout=60)
        with closing(open_reader(lab.state)) as state:
            assert state.applied().serial == serial
        check_whole(lab)
        assert json.loads(ran(lab, "plan", "--format", "json"))["steps"] == []


def wait_for(come: object, seconds: float = 90.0) -> None:
    assert callable(come)
    deadline = time.monotonic() + seconds
    while not come():
        assert time.monotonic() < deadline
        time.sleep(0.1)
