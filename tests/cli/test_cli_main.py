"""The command line's manners: quick help, exit statuses, options before and after the command, one sentence an error."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from reconciler.cli import main as main_module
from reconciler.cli.global_options import global_options
from reconciler.cli.main import COMMANDS, cli
from reconciler.cli.settings import Settings, settings_of
from reconciler.fleet import GpurecError, LockHeld, Place, Problem

HEAVY = ("httpx", "pydantic", "ruamel", "sqlite_utils", "jinja2", "rich", "asyncio", "reconciler.fleet", "reconciler.views")


def test_python_runs_the_package_as_the_command() -> None:
    done = subprocess.run([sys.executable, "-m", "reconciler", "--help"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("Usage: gpurec [OPTIONS]")


def test_importing_the_command_line_imports_nothing_heavy() -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", "import reconciler.cli.main"], capture_output=True, text=True, check=True
    )
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert "click" in imported
    assert not [name for name in imported if name.startswith(HEAVY)]


def test_help_names_every_command_and_exits_0() -> None:
    result = CliRunner().invoke(cli, ["--help"])
    assert result.exit_code == 0
    assert all(f"  {name} " in result.stdout for name in COMMANDS)


@pytest.mark.parametrize("name", list(COMMANDS))
def test_every_command_has_help_and_takes_the_global_options_after_it(name: str) -> None:
    result = CliRunner().invoke(cli, [name, "--help"])
    assert result.exit_code == 0, result.output
    if name != "sim":
        assert "--fleet" in result.stdout


@pytest.mark.parametrize(
    "arguments",
    [["--nonsense"], ["nonsense"], ["plan", "--format", "html"], ["show"], ["plan", "--refresh", "maybe"], ["history", "--last", "0"]],
)
def test_wrong_usage_exits_1_and_says_so_on_stderr(arguments: list[str]) -> None:
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert "Error:" in result.stderr


@pytest.fixture
def probe(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """A command `probe` in place of the real ones; collects the settings it was run with."""
    seen: list[Settings] = []

    @click.command("probe")
    @click.option("--fail")
    @global_options
    @click.pass_context
    def command(context: click.Context, fail: str | None) -> int:
        seen.append(settings_of(context))
        match fail:
            case "two":
                raise GpurecError(Problem("one thing\x1b[2J", Place("a.yaml", 3, 5), "do this"), Problem("another"))
            case "lock":
                raise LockHeld.of("the lock is held")
            case "bug":
                raise KeyError("oops")
            case "interrupt":
                raise KeyboardInterrupt
            case "status":
                return 4
        return 0

    monkeypatch.setitem(COMMANDS, "probe", ("probe", "A probe."))
    monkeypatch.setattr(main_module.Commands, "get_command", lambda self, ctx, name: command)
    return seen


def run(*arguments: str, **env: str) -> tuple[int, str]:
    result = CliRunner().invoke(cli, list(arguments), env=env)
    return result.exit_code, result.stderr


def test_global_options_are_taken_before_and_after_the_command(probe: list[Settings]) -> None:
    run("--fleet", "a", "-f", "one.yaml", "-v", "probe", "--fleet", "b", "-f", "two.yaml", "-C", "dir", "--no-color")
    (settings,) = probe
    assert settings.fleet == "b"
    assert settings.desired == (Path("one.yaml"), Path("two.yaml"))
    assert (settings.directory, settings.verbose, settings.no_colour) == (Path("dir"), 1, True)
    assert settings.path("x.yaml") == Path("dir/x.yaml")


def test_global_options_are_taken_from_the_environment(probe: list[Settings]) -> None:
    run("probe", GPUREC_FLEET="lab", GPUREC_STATE="s.db")
    run("--fleet", "other", "probe", GPUREC_FLEET="lab")
    assert (probe[0].fleet, probe[0].state, probe[1].fleet) == ("lab", "s.db", "other")


def test_every_problem_is_one_line_and_its_text_is_escaped(probe: list[Settings]) -> None:
    assert run("probe", "--fail", "two") == (1, "Error: a.yaml:3:5: one thing\\x1b[2J; do this\nError: another\n")


def test_an_error_has_the_exit_status_of_its_class(probe: list[Settings]) -> None:
    assert run("probe", "--fail", "lock")[0] == 5
    assert run("probe", "--fail", "status")[0] == 4
    assert run("probe", "--fail", "interrupt")[0] == 130


def test_a_traceback_is_shown_only_with_vv(probe: list[Settings]) -> None:
    status, quiet = run("probe", "--fail", "bug")
    assert (status, quiet.count("\n")) == (1, 1)
    assert "Traceback" not in quiet + run("probe", "-v", "--fail", "bug")[1]
    assert "Traceback" in run("probe", "-vv", "--fail", "bug")[1]


def test_no_color_in_the_environment_is_obeyed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert Settings().colour()
    assert not Settings(no_colour=True).colour()
    monkeypatch.setenv("NO_COLOR", "1")
    assert not Settings().colour()
    assert os.environ["NO_COLOR"]
