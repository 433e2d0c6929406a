"""One plan in every form: as much text as is asked for, markdown within a budget, the same again from a file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_lab import Lab, served
from click.testing import CliRunner

from reconciler.cli.main import cli
from reconciler.sim import builtin_fleet


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with served(builtin_fleet("demo").with_time_scale(0), tmp_path) as lab:
        yield lab


def test_a_plan_is_markdown_from_the_fleet_and_from_a_file_alike(lab: Lab) -> None:
    fresh = lab.run("plan", "--format", "markdown", "--out", "p.json")
    assert fresh.exit_code == 0
    assert fresh.stdout.startswith("### gpurec plan for `demo`: 2 to load\n")
    assert lab.run("show", "p.json", "--format", "markdown").stdout == fresh.stdout
    small = lab.run("show", "p.json", "--format", "markdown", "--max-bytes", "4096").stdout
    assert len(small.encode()) <= 4096


def test_a_budget_that_holds_no_summary_is_refused(lab: Lab) -> None:
    result = lab.run("plan", "--format", "markdown", "--max-bytes", "4095")
    assert result.exit_code == 1
    assert "4095 is not in the range x>=4096" in result.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--max-bytes", "65536"), "--max-bytes is for --format markdown and does nothing for text; leave it out."),
        (("--format", "json", "--max-bytes", "4096"), "--max-bytes is for --format markdown and does nothing for json; leave it out."),
        (("--format", "html", "--detail", "full"), "--detail is for --format text and does nothing for html; leave it out."),
        (("--format", "markdown", "--detail", "summary"), "--detail is for --format text and does nothing for markdown; leave it out."),
    ],
)
def test_an_option_that_the_format_makes_nothing_of_is_refused(tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    for command in (("plan",), ("show", "p.json"), ("rollback", "0"), *([("drift",)] if "--detail" not in words else [])):
        result = CliRunner().invoke(cli, ["-C", str(tmp_path), *command, *words])
        assert (result.exit_code, said in result.stderr) == (1, True), result.stderr


def test_drift_is_markdown_and_exits_2(lab: Lab) -> None:
    assert lab.run("apply", "--auto-approve").exit_code == 0
    assert lab.run("drift", "--format", "markdown").stdout.startswith("### gpurec drift of `demo`: No drift.\n")
    lab.fleet.engines["ada/ollama"].restart()
    drifted = lab.run("drift", "--format", "markdown")
    assert drifted.exit_code == 2
    assert "| `missing` | `model.nomic-embed-text@ada/ollama` | was resident, is gone |" in drifted.stdout


def test_a_text_is_as_long_as_its_detail_and_says_which_plan_it_is(lab: Lab) -> None:
    lab.run("plan", "--out", "p.json")
    texts = {level: lab.run("show", "p.json", "--detail", level).stdout for level in ("summary", "changes", "full")}
    assert lab.run("show", "p.json").stdout == texts["full"]
    assert len(texts["summary"]) < len(texts["changes"]) < len(texts["full"])
    assert "+ load" not in texts["summary"]
    assert "Cards, before" not in texts["changes"]
    for text in texts.values():
        assert "Plan: 0 to pull, 2 to load" in text
        assert "\nsha256:" in text
        assert ", before any apply\n" in text


def test_a_plan_is_one_html_file(lab: Lab) -> None:
    fresh = lab.run("plan", "--format", "html", "--out", "p.json")
    assert fresh.exit_code == 0
    assert fresh.stdout.startswith("<!DOCTYPE html>\n")
    assert "model.nomic-embed-text@ada/ollama" in fresh.stdout
    assert lab.run("show", "p.json", "--format", "html").stdout == fresh.stdout
