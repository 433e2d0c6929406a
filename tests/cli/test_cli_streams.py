"""Standard streams that are closed, signals that end a command, and words that are none."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_lab import Lab, served
from click.testing import CliRunner

from reconciler.cli.groups import ELSEWHERE, UNLOADS
from reconciler.cli.main import COMMANDS, cli
from reconciler.sim import builtin_fleet
from reconciler.state import open_reader

CLOSED = {"<&-": 0, ">&-": 1, "2>&-": 2}


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with served(builtin_fleet("demo").with_time_scale(0), tmp_path) as lab:
        yield lab


def with_closed(lab: Lab, streams: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "reconciler.cli.main", "-C", str(lab.root), *arguments]
    return subprocess.run(["bash", "-c", f'exec "$@" {streams}', "bash", *command], capture_output=True, text=True)


@pytest.mark.parametrize("streams", ["<&-", ">&-", "2>&-", "<&- >&-", "<&- 2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_closed_standard_streams_count_as_empty_ones(lab: Lab, streams: str) -> None:
    planned = with_closed(lab, streams, "plan", "--out", "a.plan", "--detailed-exitcode")
    assert planned.returncode == 2, planned.stderr
    done = with_closed(lab, streams, "apply", "--auto-approve")
    assert done.returncode == 0, done.stderr
    assert ("Apply complete!" in done.stdout) is (">&-" not in streams.replace("2>&-", ""))
    assert "Traceback" not in done.stderr
    assert set(open_reader(lab.state).applied().replicas) == {f"model.nomic-embed-text@{node}/ollama" for node in ("ada", "bea")}


def test_without_a_stdin_there_is_nobody_to_ask(lab: Lab) -> None:
    asked = with_closed(lab, "<&-", "apply")
    assert asked.returncode == 1
    assert "there is no terminal to ask on, so nothing was applied" in asked.stderr
    assert not lab.state.exists()


def test_an_error_keeps_its_status_where_nobody_can_read_it(lab: Lab) -> None:
    lab.want("version: 1\nmodel: {}\n")
    assert with_closed(lab, "2>&-", "plan").returncode == 1


@pytest.fixture
def never_answers() -> Iterator[int]:
    """The port of a server that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("command", [("plan",), ("drift",), ("status",), ("apply", "--auto-approve")])
def test_a_signal_ends_a_command_that_probes_with_130_and_one_line(
    tmp_path: Path, never_answers: int, number: signal.Signals, command: tuple[str, ...]
) -> None:
    with served(builtin_fleet("demo").with_time_scale(0), tmp_path) as lab:
        inventory = lab.root / "inventories" / "demo.yaml"
        port = lab.fleet.engines["ada/ollama"].url.rpartition(":")[2]
        inventory.write_text(inventory.read_text().replace(f":{port}", f":{never_answers}"))
        with lab.process(*command) as process:
            while not any(r.path == "/api/version" for r in lab.fleet.engines["bea/ollama"].requests):
                assert process.poll() is None
            process.send_signal(number)
            _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (130, "Interrupted.\n")
    assert not lab.state.exists()


def test_an_apply_under_nohup_outlives_its_terminal(tmp_path: Path) -> None:
    with served(builtin_fleet("demo").with_time_scale(None), tmp_path) as lab:
        command = [sys.executable, "-m", "reconciler.cli.main", "-C", str(lab.root), "apply", "--auto-approve"]
        with subprocess.Popen(
            ["bash", "-c", "trap '' HUP; exec \"$@\"", "bash", *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            assert process.stderr is not None
            assert any("started" in line for line in process.stderr)
            process.send_signal(signal.SIGHUP)
            while process.poll() is None:
                lab.fleet.advance(60)
            out = process.stdout.read() if process.stdout is not None else ""
        assert (process.returncode, "Apply complete!" in out) == (0, True)


def test_a_terminal_that_is_gone_changes_no_status(lab: Lab) -> None:
    """After the hangup of a terminal every write to it fails."""
    lab.fleet.engines["bea/ollama"].set_fault("hang_load")
    reading, writing = os.pipe()
    with lab.process("apply", "--auto-approve", "--parallelism", "1", stderr=writing) as process:
        os.close(writing)
        with os.fdopen(reading) as said:
            assert any("bea/ollama: started" in line for line in said)
        process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGTERM)
        process.wait(60)
    assert process.returncode == 130
    assert json.loads(lab.run("history", "--format", "json").stdout)[0]["result"] == "interrupted"


@pytest.mark.parametrize(
    ("arguments", "advice"),
    [
        (["aply"], "did you mean: gpurec apply"),
        (["Plan"], "did you mean: gpurec plan"),
        (["destroy"], "take the models out of the desired state, then: gpurec apply"),
        (["force-unlock"], "did you mean: gpurec lock release"),
        (["taint", "a"], "did you mean: gpurec apply --replace ADDR"),
        (["state", "lst"], "did you mean: gpurec state list"),
        (["lock", "xyzzy"], "gpurec lock --help lists them"),
        (["xyzzy"], "gpurec --help lists them"),
    ],
)
def test_an_unknown_command_names_the_nearest_that_works(arguments: list[str], advice: str) -> None:
    result = CliRunner().invoke(cli, arguments, prog_name="gpurec")
    assert result.exit_code == 1
    assert f"Error: there is no command {next(a for a in arguments if a not in ('state', 'lock'))!r}; {advice}" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["apply", "-auto-approve"], "Did you mean --auto-approve?"),
        (["plan", "-out=x"], "Did you mean --out?"),
        (["plan", "-x"], "No such option -x"),
        (["rollback", "x"], "x is not a whole number."),
    ],
)
def test_a_wrong_option_is_told_in_words_that_help(arguments: list[str], said: str) -> None:
    """In the words of click, whose versions differ in their quotes and colons."""
    result = CliRunner().invoke(cli, arguments, prog_name="gpurec")
    assert result.exit_code == 1
    assert said in result.stderr.replace("'", "").replace("option: ", "option ")


@pytest.mark.parametrize("word", sorted(ELSEWHERE))
def test_every_word_of_another_tool_leads_to_a_command_that_is_there(word: str) -> None:
    assert word not in COMMANDS
    assert word in UNLOADS or f"gpurec {ELSEWHERE[word]}" in CliRunner().invoke(cli, [word]).stderr
    words = ELSEWHERE[word].removesuffix(" ADDR").split()
    shown = CliRunner().invoke(cli, [*(one for one in words if not one.startswith("-")), "--help"])
    assert shown.exit_code == 0
    assert all(option in shown.stdout for option in words if option.startswith("-"))


def test_a_folder_that_is_gone_is_told_as_such(tmp_path: Path) -> None:
    script = 'mkdir gone && cd gone && rmdir ../gone && exec "$@"'
    command = [sys.executable, "-P", "-m", "reconciler.cli.main", "-i", "hosts.yaml", "inventory"]
    done = subprocess.run(["bash", "-c", script, "bash", *command], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "Error: the folder that gpurec was started in is gone; go to one that is there, or name one with -C\n"
