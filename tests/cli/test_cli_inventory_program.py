"""An inventory that is a program: run where `-i` names it, once and within bounds, and nowhere else."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from reconciler.cli.main import cli
from reconciler.operations import inventory_program
from reconciler.workspace import load_workspace

LISTING = {"_meta": {"hostvars": {"a": {"engines": {"ollama": {"url": "http://127.0.0.1:9"}}, "gpus": []}}}, "gpu": {"hosts": ["a"]}}
WANTED = "version: 1\nmodels: {}\n"


def program(folder: Path, text: str, name: str = "lab", *, may_run: bool = True) -> Path:
    """A program `name` that keeps a line of what it was asked in `asked`, and then does `text`."""
    path = folder / name
    path.write_text(f'#!/bin/sh\necho "$@" >> {folder}/asked\n{text}\n')
    path.chmod(0o755 if may_run else 0o644)
    return path


def printing(listing: object) -> str:
    return f"cat <<'JSON'\n{json.dumps(listing)}\nJSON"


def gpurec(folder: Path, *arguments: str) -> Result:
    return CliRunner().invoke(cli, ["-C", str(folder), *arguments])


def asked(folder: Path) -> list[str]:
    return (folder / "asked").read_text().splitlines() if (folder / "asked").exists() else []


def test_a_fleet_is_planned_from_what_a_program_prints_which_is_asked_once(tmp_path: Path) -> None:
    program(tmp_path, printing(LISTING))
    (tmp_path / "wanted.yaml").write_text(WANTED)
    result = gpurec(tmp_path, "-i", "lab", "-f", "wanted.yaml", "validate")
    assert (result.exit_code, asked(tmp_path)) == (0, ["--list"]), result.stderr
    assert "1 node" in result.stdout


def test_what_is_wrong_in_it_is_told_with_the_line_that_it_printed(tmp_path: Path) -> None:
    program(tmp_path, printing({"_meta": {"hostvars": {"a": {"engines": {"ollama": {"urll": "http://x"}}}}}, "gpu": ["a"]}))
    result = gpurec(tmp_path, "-i", "lab", "inventory")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: lab --list:1:")
    assert "did you mean 'url'" in result.stderr


def test_the_order_in_which_it_prints_changes_no_digest_and_its_values_do(tmp_path: Path) -> None:
    (tmp_path / "wanted.yaml").write_text(WANTED)

    def digest(listing: dict[str, object]) -> str:
        printed = {Path("lab"): json.dumps(listing).encode()}
        return load_workspace(tmp_path, inventory=[Path("lab")], desired=[Path("wanted.yaml")], printed=printed).config_digest

    assert digest(LISTING) == digest(dict(reversed(LISTING.items())))
    assert digest(LISTING) != digest({**LISTING, "gpu": {"hosts": ["a"], "vars": {"x": 1}}})


@pytest.mark.parametrize("name", ["lab.yaml", "lab.yml", "lab.json", "lab.ini"])
def test_a_file_that_is_named_as_text_is_never_run(tmp_path: Path, name: str) -> None:
    program(tmp_path, printing(LISTING), name)
    result = gpurec(tmp_path, "-i", name, "inventory")
    assert (result.exit_code, asked(tmp_path)) == (1, [])
    assert "this is a program" in result.stderr


def test_a_program_that_nobody_names_is_not_run(tmp_path: Path) -> None:
    (tmp_path / "inventories" / "lab").mkdir(parents=True)
    program(tmp_path / "inventories" / "lab", printing(LISTING), "hosts")
    result = gpurec(tmp_path, "--fleet", "lab", "inventory")
    assert (result.exit_code, asked(tmp_path / "inventories" / "lab")) == (1, [])
    assert "only where you name it with -i" in result.stderr


def test_a_program_that_may_not_be_executed_says_what_to_do(tmp_path: Path) -> None:
    program(tmp_path, printing(LISTING), may_run=False)
    result = gpurec(tmp_path, "-i", "lab", "inventory")
    assert (result.exit_code, asked(tmp_path)) == (1, [])
    assert "only where you name it with -i and it may be executed" in result.stderr


def test_a_text_that_happens_to_be_executable_is_read_as_the_text_that_it_is(tmp_path: Path) -> None:
    (tmp_path / "hosts").write_text("all: {hosts: {a: {}}}\n")
    (tmp_path / "hosts").chmod(0o755)
    assert gpurec(tmp_path, "-i", "hosts", "inventory").exit_code == 0


def test_completion_runs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path, printing(LISTING))
    monkeypatch.chdir(tmp_path)
    environ = {"_GPUREC_COMPLETE": "bash_complete", "COMP_WORDS": "gpurec -i lab inventory ", "COMP_CWORD": "4"}
    CliRunner().invoke(cli, [], env={**os.environ, **environ}, prog_name="gpurec")
    assert asked(tmp_path) == []


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("echo 'no such cloud\x1b[2J' >&2; exit 3", "the program that prints this inventory ended with 3: no such cloud\\x1b[2J"),
        ("echo all:", "lab --list:1:1: this inventory program printed no JSON"),
        (printing({"_meta": {"hostvars": {"\ud800": {}}}, "gpu": ["\ud800"]}), "printed half of a character"),
        ("printf '\\377'", "this inventory program printed no JSON"),
        ("echo '[1]'", "prints a JSON mapping of groups for --list, this is a list"),
        ("echo null", "prints a JSON mapping of groups for --list, this is nothing"),
        ('echo \'{"gpu": ["a"]}\'', "prints no `_meta` with `hostvars`"),
        (printing({"_meta": {"hostvars": {}}, "gpu": {"hosts": {"a": {}}}}), "`hosts` of group 'gpu' must be a list"),
        (printing({"_meta": {"hostvars": {}}, "gpu": [3]}), "the name of a host is text, this is 3"),
        (printing({"_meta": {"hostvars": {}}, "gpu": ["a[1:3]"]}), "'a[1:3]' is no name of a host"),
        (printing({"_meta": {"hostvars": {}}, "gpu": ["a:22"]}), "'a:22' is no name of a host"),
        (printing({"_meta": {"hostvars": {"a": 3}}, "gpu": ["a"]}), "the variables of host 'a' must be a mapping, this is 3"),
        (printing({"_meta": {"hostvars": {}}}), "this inventory has no hosts"),
    ],
)
def test_what_a_program_gets_wrong_is_a_sentence(tmp_path: Path, text: str, told: str) -> None:
    program(tmp_path, text)
    result = gpurec(tmp_path, "-i", "lab", "inventory")
    assert result.exit_code == 1
    assert told in result.stderr
    assert "\x1b" not in result.stderr


def test_a_program_without_end_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inventory_program, "WITHIN", 0.2)
    program(tmp_path, "exec sleep 1000")
    assert "did not end within" in gpurec(tmp_path, "-i", "lab", "inventory").stderr


def test_a_program_that_prints_without_end_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inventory_program, "MOST_BYTES", 2**20)
    program(tmp_path, "exec yes")
    assert "printed more than 1 MiB" in gpurec(tmp_path, "-i", "lab", "inventory").stderr


def test_a_program_that_cannot_be_started_says_why(tmp_path: Path) -> None:
    (tmp_path / "lab").write_text("#!/no/such/interpreter\n")
    (tmp_path / "lab").chmod(0o755)
    assert "cannot be run: No such file or directory; check its first line" in gpurec(tmp_path, "-i", "lab", "inventory").stderr
