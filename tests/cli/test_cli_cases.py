"""Every folder of tests/cases/plan: `inventory.yaml`, `desired.yaml` and `facts.json`, with the plan that they give as a snapshot.

A new case needs no code; `--snapshot-update` writes its plan, to be read before it is kept.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from cli_lab import undated
from click.testing import CliRunner
from syrupy.assertion import SnapshotAssertion

from reconciler.cli.main import cli

CASES = Path(__file__).parents[1] / "cases" / "plan"
NAMES = sorted(folder.name for folder in CASES.iterdir() if folder.is_dir())


@pytest.mark.parametrize("name", NAMES)
def test_cli_the_plan_of_a_case(name: str, tmp_path: Path, snapshot: SnapshotAssertion) -> None:
    for folder, file in (("inventories", "inventory.yaml"), ("desired", "desired.yaml")):
        (tmp_path / folder).mkdir()
        shutil.copy(CASES / name / file, tmp_path / folder / "lab.yaml")
    asked = ["-C", str(tmp_path), "plan", "--assume", str(CASES / name / "facts.json")]
    text = CliRunner().invoke(cli, asked)
    assert text.exit_code == 0, text.output
    assert undated(text.stdout) == snapshot
    document = json.loads(CliRunner().invoke(cli, [*asked, "--format", "json"]).stdout)
    assert [step["variant"] for step in document["steps"]] == snapshot(name="variants")
