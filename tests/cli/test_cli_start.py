"""What a command costs before it does anything: it imports what it uses and nothing else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from cli_lab import served

from reconciler.fleet import FleetFacts, NodeFacts
from reconciler.probes import facts_to_json
from reconciler.sim import builtin_fleet

PROBE = """
import sys
from reconciler.cli.main import main
try:
    main()
except SystemExit as ended:
    print(*sorted(name for name in HEAVY if name in sys.modules), f"ended {ended.code}", file=sys.stderr)
"""
HEAVY = ("httpx", "pydantic", "sqlite_utils", "rich", "hypothesis")
"""Each of them takes as long to import as a small plan to be made."""


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    for folder in ("inventories", "desired"):
        (tmp_path / folder).mkdir()
    (tmp_path / "inventories" / "lab.yaml").write_text("all: {hosts: {a: {gpus: [], engines: {ollama: {url: 'http://a:1'}}}}}\n")
    (tmp_path / "desired" / "lab.yaml").write_text("version: 1\n")
    (tmp_path / "facts.json").write_text(facts_to_json(FleetFacts("2026-01-01T00:00:00Z", {"a": NodeFacts("a", ())})))
    return tmp_path


@pytest.mark.parametrize("arguments", [("--help",), ("plan", "--assume", "facts.json"), ("validate",)], ids=" ".join)
def test_a_command_imports_none_of_the_heavy_libraries_that_it_does_not_use(workspace: Path, arguments: tuple[str, ...]) -> None:
    program = f"HEAVY = {HEAVY!r}\n{PROBE}"
    command = [sys.executable, "-c", program, "-C", str(workspace), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr.splitlines()[-1] == "ended 0", done.stderr


def test_help_imports_nothing_of_the_rooms_behind_it() -> None:
    program = f"HEAVY = {('reconciler.planning', 'reconciler.workspace', 'reconciler.execution', 'asyncio')!r}\n{PROBE}"
    done = subprocess.run([sys.executable, "-c", program, "--help"], capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr.splitlines()[-1] == "ended 0", done.stderr


def test_a_look_at_engines_that_answer_needs_neither_pydantic_nor_the_client_of_httpx(tmp_path: Path) -> None:
    program = f"HEAVY = {('httpx', 'pydantic', 'jinja2', 'ruamel.yaml', 'rich')!r}\n{PROBE}"
    with served(builtin_fleet("demo").with_time_scale(0), tmp_path) as lab:
        command = [sys.executable, "-c", program, "-C", str(lab.root), "watch", "--once", "-v"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert "unreachable" not in done.stdout
    assert done.stderr.splitlines()[-1] == "ended 2", done.stderr
