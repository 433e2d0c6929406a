"""Where the output cannot go: a full disk is one sentence that says where, a reader that left is no error worth a word."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_lab import Lab, gpurec, served

from reconciler.sim import builtin_fleet

FULL = Path("/dev/full")


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with served(builtin_fleet("demo").with_time_scale(0), tmp_path) as lab:
        yield lab


@pytest.mark.skipif(not FULL.exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("command", ["plan", "plan --format json", "facts", "drift", "validate", "apply --auto-approve"])
def test_a_full_disk_is_one_sentence_that_says_where(lab: Lab, command: str) -> None:
    with FULL.open("w") as full, lab.process(*command.split(), stdout=full.fileno()) as process:
        _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert err == "Error: standard output: the result cannot be written: No space left on device; send it where there is room\n"
    assert not lab.state.exists()


@pytest.mark.parametrize("command", ["plan", "facts", "inventory", "apply --auto-approve"])
def test_a_reader_that_left_ends_the_command_silently_as_other_tools_do(lab: Lab, command: str) -> None:
    with lab.process(*command.split(), stdout=closed_pipe()) as process:
        _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (141, "")


def test_an_apply_goes_on_when_nobody_reads_its_progress(lab: Lab) -> None:
    with lab.process("apply", "--auto-approve", stderr=closed_pipe()) as process:
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "Apply complete! 2 steps: 2 done" in out


def test_the_demo_ends_silently_too(tmp_path: Path) -> None:
    with gpurec("-C", str(tmp_path), "demo", stdout=closed_pipe()) as process:
        _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (141, "")


def closed_pipe() -> int:
    reader, writer = os.pipe()
    os.close(reader)
    return writer
