"""A plan has one digest, whatever process made it, where, and in which language."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_lab import Lab, served

from reconciler.sim import builtin_fleet

WANTED = """version: 1
models:
  nomic-embed-text: {engine: ollama, on: ollama, each: node, context: 2048, vram: 350MiB}
  llama3.1:8b: {engine: ollama, on: bea, vram: 5500MiB, options: {num_batch: 256, num_thread: 4}}
  phi-3-mini: {engine: llamacpp, on: llamacpp, vram: 2500MiB}
"""
HERE = {"LC_ALL": "C", "TZ": "UTC", "PYTHONHASHSEED": "0"}
THERE = {"LC_ALL": "de_DE.UTF-8", "LANG": "tr_TR.UTF-8", "TZ": "Pacific/Kiritimati", "PYTHONHASHSEED": "4711", "COLUMNS": "40"}


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with served(builtin_fleet("demo").with_time_scale(0), tmp_path) as lab:
        lab.want(WANTED)
        yield lab


def plan(lab: Lab, environment: dict[str, str], folder: Path, named: str) -> dict[str, object]:
    """The plan document as another process makes it, in another folder, which names the workspace in its own way."""
    command = [sys.executable, "-X", "utf8=0", "-m", "reconciler.cli.main", "-C", named, "plan", "--format", "json"]
    done = subprocess.run(command, cwd=folder, env={**os.environ, **environment}, capture_output=True, timeout=100, check=True)
    found = json.loads(done.stdout)
    assert isinstance(found, dict)
    return found


def test_a_plan_has_the_same_digest_in_two_environments(lab: Lab) -> None:
    one = plan(lab, HERE, lab.root, ".")
    other = plan(lab, THERE, lab.root.parent, str(lab.root))
    assert one["steps"]
    assert (one["digest"], one["config_digest"]) == (other["digest"], other["config_digest"])
    passing = {"created_at", "checksum"}
    assert {key: value for key, value in one.items() if key not in passing} == {
        key: value for key, value in other.items() if key not in passing
    }


def test_a_plan_made_in_one_environment_is_applied_in_another(lab: Lab) -> None:
    (lab.root / "p.json").write_text(json.dumps(plan(lab, THERE, lab.root.parent, str(lab.root))))
    with lab.process("apply", "p.json") as process:
        out, said = process.communicate(timeout=100)
    assert process.returncode == 0, said
    assert "Apply complete!" in out
