"""`placement.solver` and `--solver`: who looks for places, in files, on the command line and in saved plans."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from reconciler.cli.main import cli
from reconciler.placement import mip

CASE = Path(__file__).parents[1] / "cases" / "plan" / "exact-chain"


@pytest.fixture
def asked(tmp_path: Path):
    """Runs a command on the files of the case, of which `exact` is what `desired.yaml` says of the solver."""

    def run(*arguments: str, files: str = "exact"):
        for folder, file in (("inventories", "inventory.yaml"), ("desired", "desired.yaml")):
            (tmp_path / folder).mkdir(exist_ok=True)
            shutil.copy(CASE / file, tmp_path / folder / "lab.yaml")
        desired = tmp_path / "desired" / "lab.yaml"
        desired.write_text(desired.read_text().replace("solver: exact", f"solver: {files}"))
        return CliRunner().invoke(cli, ["-C", str(tmp_path), *arguments])

    return run


def plan(*more: str) -> tuple[str, ...]:
    return ("plan", "--assume", str(CASE / "facts.json"), "--format", "json", *more)


@pytest.mark.parametrize(("files", "more"), [("exact", ()), ("builtin", ("--solver", "exact"))])
def test_the_files_or_the_option_ask_for_the_exact_solver(asked, files, more):
    told = json.loads(asked(*plan(*more), files=files).stdout)["placement"]
    assert (told["solver"], told["objective"], told["moved"], told["proved"]) == ("exact", 0, 2, True)


def test_the_option_goes_before_the_files(asked):
    assert json.loads(asked(*plan("--solver", "builtin")).stdout)["placement"]["solver"] == "builtin"


def test_another_solver_is_refused_in_both(asked):
    assert asked(*plan("--solver", "best")).exit_code == 1
    wrong = asked("validate", files="best")
    assert wrong.exit_code == 1
    assert "builtin" in wrong.output
    assert "exact" in wrong.output


@pytest.mark.parametrize(("files", "more"), [("exact", ()), ("builtin", ("--solver", "exact"))])
def test_without_the_extra_a_plan_is_one_sentence_and_nothing_is_probed(asked, monkeypatch, files, more):
    monkeypatch.setattr(mip, "find_spec", lambda name: None)
    done = asked("plan", *more, files=files)
    assert done.exit_code == 1
    assert done.stderr.strip().splitlines()[-1].endswith("in a clone of gpurec: pip install '.[exact]'; or use `solver: builtin`")
    assert "HiGHS, which is not installed here" in done.stderr
    assert "probing" not in done.stderr.lower()


def test_a_saved_plan_keeps_its_solver_and_takes_no_other(asked, tmp_path):
    saved = str(tmp_path / "saved.plan")
    assert asked(*plan("--solver", "exact", "--out", saved), files="builtin").exit_code == 0
    assert json.loads(Path(saved).read_text())["placement"]["solver"] == "exact"
    refused = asked("apply", saved, "--solver", "builtin", files="builtin")
    assert refused.exit_code == 1
    assert "A saved plan holds its own" in refused.output
