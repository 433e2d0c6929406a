"""`gpurec sim up`: it says where each engine listens, serves until it is told to end, and heeds that however it was started."""

from __future__ import annotations

import signal
import subprocess
import urllib.request
from pathlib import Path

import pytest
from cli_lab import gpurec
from click.testing import CliRunner

from reconciler.cli.main import cli

FLEET = """
nodes:
  one:
    gpus: [{name: card, vram: 8GiB}]
    engines:
      ollama: {kind: ollama, installed: [{name: "m:1", size: 1GB}]}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "fleet.yaml"
    path.write_text(FLEET)
    return path


def serving(process: subprocess.Popen[str]) -> str:
    """The URL of the only engine, once it serves."""
    assert process.stdout is not None
    assert process.stderr is not None
    name, url = process.stdout.readline().split()
    assert name == "one/ollama"
    assert process.stderr.readline() == "Serving until ^C.\n"
    return url


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_where_it_says_until_a_signal_ends_it(file: Path, number: signal.Signals) -> None:
    with gpurec("sim", "up", str(file)) as process:
        with urllib.request.urlopen(serving(process) + "/api/version", timeout=10) as answer:
            assert answer.status == 200
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    assert (process.returncode, err.strip()) == (130, "Interrupted.")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_heeds_signals_that_it_was_started_with_ignored(file: Path, number: signal.Signals) -> None:
    before = {each: signal.signal(each, signal.SIG_IGN) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        process = gpurec("sim", "up", str(file))
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
    with process:
        serving(process)
        process.send_signal(number)
        process.communicate(timeout=60)
    assert process.returncode == 130


def test_a_port_that_is_taken_is_one_sentence(file: Path) -> None:
    with gpurec("sim", "up", str(file)) as process:
        port = serving(process).rpartition(":")[2]
        file.write_text(FLEET.replace("kind: ollama,", f"kind: ollama, port: {port},"))
        result = CliRunner().invoke(cli, ["sim", "up", str(file)])
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (1, "", 1)
    assert port in result.stderr


def test_every_mistake_of_a_fleet_has_a_line_of_its_own(file: Path) -> None:
    file.write_text(FLEET.replace("vram", "vrma").replace("time_scale", "time_scael") + "unknown: 1\n")
    result = CliRunner().invoke(cli, ["sim", "up", str(file)])
    lines = result.stderr.splitlines()
    assert (result.exit_code, len(lines) > 1) == (1, True), result.output
    assert all("fleet.yaml:" in line for line in lines)
    assert "x0a" not in result.stderr


@pytest.mark.parametrize(
    ("text", "says"), [("", "fleet.yaml"), ("nodes: [", "fleet.yaml:"), (FLEET.replace("vram", "vrma"), "vrma"), (None, "nowhere.yaml")]
)
def test_a_file_that_is_no_fleet_is_a_sentence_a_mistake_that_says_where(file: Path, text: str | None, says: str) -> None:
    if text is not None:
        file.write_text(text)
    result = CliRunner().invoke(cli, ["sim", "up", str(file if text is not None else file.with_name("nowhere.yaml"))])
    assert (result.exit_code, result.stdout) == (1, ""), result.output
    assert all(line.startswith("Error: ") for line in result.stderr.splitlines())
    assert says in result.stderr


def test_a_name_that_is_no_file_is_answered_with_the_fleets_that_are_built_in(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli, ["-C", str(tmp_path), "sim", "up", "aries"])
    assert result.exit_code == 1
    assert "aries: this file does not exist; write it, or name a built-in fleet: demo, gpu-router, containers, autogen, aires" in " ".join(
        result.stderr.split()
    )
