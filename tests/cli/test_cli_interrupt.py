"""^C during an apply: once, and no step begins any more; twice, and what runs is cut. Both tell and keep what was done."""

from __future__ import annotations

import json
import select
import signal
from collections.abc import Iterator
from pathlib import Path
from subprocess import Popen

import pytest
from cli_lab import SMALL, Lab, served

from reconciler.sim import builtin_fleet
from reconciler.state import open_reader

THREE = SMALL + "  tinyllama-1b: {engine: llamacpp, on: llamacpp, vram: 1200MiB}\n"
ONE_AT_A_TIME = ("apply", "--auto-approve", "--parallelism", "1")


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with served(builtin_fleet("demo").with_time_scale(0), tmp_path) as lab:
        lab.want(THREE)
        yield lab


def wait_for_line(process: Popen[str], says: str) -> None:
    assert process.stderr is not None
    assert any(says in line for line in process.stderr), f"ended without saying {says!r}"


def let_time_pass_until_it_speaks(lab: Lab, process: Popen[str]) -> None:
    """The fleet's own time goes on only here; once is not enough, since the load may not have come to the server yet."""
    for _ in range(600):
        lab.fleet.advance(60)
        if select.select([process.stderr], [], [], 0.1)[0]:
            return
    raise AssertionError("it said nothing more")


def last_result(lab: Lab) -> str:
    return str(json.loads(lab.run("history", "--format", "json").stdout)[0]["result"])


def kept(lab: Lab) -> set[str]:
    return set(open_reader(lab.state).applied().replicas)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_first_interrupt_begins_no_step_and_lets_the_one_that_runs_settle(tmp_path: Path, number: signal.Signals) -> None:
    with served(builtin_fleet("demo").with_time_scale(None), tmp_path) as lab:
        lab.want(THREE)
        with lab.process(*ONE_AT_A_TIME) as process:
            wait_for_line(process, "ada/ollama: started")
            process.send_signal(number)
            wait_for_line(process, "Stopping:")
            let_time_pass_until_it_speaks(lab, process)
            wait_for_line(process, "ada/ollama: done")
            out, said = process.communicate(timeout=60)
        assert process.returncode == 130
        assert "gpurec plan shows what is left" in said
        assert "Apply interrupted. 3 steps: 1 done, 2 skipped" in out
        assert "the run was asked to stop before it began" in out
        assert last_result(lab) == "interrupted"
        assert kept(lab) == {"model.nomic-embed-text@ada/ollama"}
        assert not lab.fleet.engines["bea/ollama"].residents


def test_the_second_interrupt_cuts_what_runs_and_tells_what_was_done(lab: Lab) -> None:
    lab.fleet.engines["bea/ollama"].set_fault("hang_load")
    with lab.process(*ONE_AT_A_TIME) as process:
        for says in ("bea/ollama: started", "Stopping:"):
            wait_for_line(process, says)
            process.send_signal(signal.SIGINT)
        wait_for_line(process, "Cutting")
        process.send_signal(signal.SIGINT)  # a third changes nothing
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Apply interrupted. 3 steps: 1 done, 1 skipped, 1 interrupted" in out
    assert "! interrupted  load model.nomic-embed-text@bea/ollama  cut while it ran" in out
    assert "! skipped      load model.tinyllama-1b@cleo/llamacpp   the run was cut before it began" in out
    assert "Serial 1." in out
    assert last_result(lab) == "interrupted"
    assert kept(lab) == {"model.nomic-embed-text@ada/ollama"}
    journal = json.loads(lab.run("history", "1", "--format", "json").stdout)["journal"]
    assert {step["address"]: (step["status"], step["reason"]) for step in journal} == {
        "model.nomic-embed-text@ada/ollama": ("done", None),
        "model.nomic-embed-text@bea/ollama": ("interrupted", "interrupted: cut short while it ran"),
        "model.tinyllama-1b@cleo/llamacpp": ("skipped", "interrupted: the run was cut before it began"),
    }


def test_an_apply_after_a_cut_one_finishes_the_work(lab: Lab) -> None:
    lab.fleet.engines["bea/ollama"].set_fault("hang_load")
    with lab.process(*ONE_AT_A_TIME) as process:
        for says in ("bea/ollama: started", "Stopping:"):
            wait_for_line(process, says)
            process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    lab.fleet.engines["bea/ollama"].clear_faults()
    lab.fleet.engines["bea/ollama"].restart()
    assert lab.run("apply", "--auto-approve").exit_code == 0
    assert lab.run("plan", "--detailed-exitcode").exit_code == 0


def test_an_interrupted_saved_plan_says_how_to_go_on_and_so_it_goes_on(lab: Lab) -> None:
    saved = str(lab.root / "my plan.json")
    assert lab.run("plan", "--out", saved).exit_code == 0
    lab.fleet.engines["bea/ollama"].set_fault("hang_load")
    with lab.process("apply", saved, "--parallelism", "1") as process:
        for says in ("bea/ollama: started", "Stopping:"):
            wait_for_line(process, says)
            process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert f"Interrupted: to go on where it stopped: gpurec apply '{saved}' --resume." in said
    lab.fleet.engines["bea/ollama"].clear_faults()
    lab.fleet.engines["bea/ollama"].restart()
    assert lab.run("apply", saved, "--resume").exit_code == 0
    assert lab.run("plan", "--detailed-exitcode").exit_code == 0
