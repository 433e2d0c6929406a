"""Shell completion: names of the workspace, with no node asked and no error said."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_lab import Lab, served

from reconciler.sim import builtin_fleet

ADA, BEA = "model.nomic-embed-text@ada/ollama", "model.nomic-embed-text@bea/ollama"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with served(builtin_fleet("demo").with_time_scale(0), tmp_path_factory.mktemp("lab")) as lab:
        assert lab.run("apply", "--auto-approve").exit_code == 0
        yield lab


def completed(root: Path, *words: str) -> list[str]:
    """What bash would be offered for the last of `words`."""
    line = ["gpurec", "-C", str(root), *words]
    environment = {**os.environ, "_GPUREC_COMPLETE": "bash_complete", "COMP_WORDS": " ".join(line), "COMP_CWORD": str(len(line) - 1)}
    if not words[-1]:
        environment["COMP_WORDS"] += " "
    code = "import sys; sys.argv[0] = 'gpurec'; from reconciler.cli.main import main; main()"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.stderr == ""
    return [line.partition(",")[2] for line in done.stdout.splitlines() if line]


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["--fleet", "d"], ["demo"]),
        (["plan", "--fleet", ""], ["demo"]),
        (["plan", "--limit", "b"], ["bea"]),
        (["plan", "--exclude", "o"], ["ollama"]),
        (["apply", "--replace", "model.nomic-embed-text@a"], [ADA]),
        (["doctor", "cl"], ["cleo"]),
        (["inventory", "lla"], ["llamacpp"]),
        (["pin", "no"], ["nomic-embed-text"]),
        (["check", "nomic"], ["nomic-embed-text"]),
        (["state", "show", ""], [ADA, BEA]),
        (["explain", "model."], ["model.nomic-embed-text", ADA, BEA]),
        (["state", "rm", ADA, "model.nomic-embed-text@b"], [BEA]),
        (["state", "mv", ""], ["ada", "bea"]),
        (["pl"], ["plan"]),
        (["state", "sh"], ["show"]),
    ],
)
def test_a_word_is_completed_from_the_workspace(lab: Lab, words: list[str], offered: list[str]) -> None:
    before = sum(len(engine.requests) for engine in lab.fleet.engines.values())
    assert completed(lab.root, *words) == offered
    assert sum(len(engine.requests) for engine in lab.fleet.engines.values()) == before


@pytest.mark.parametrize("words", [["plan", "--limit", "b"], ["state", "show", ""], ["pin", "no"], ["--fleet", "d"]])
def test_a_workspace_that_cannot_be_read_completes_to_nothing(tmp_path: Path, words: list[str]) -> None:
    (tmp_path / "inventories").mkdir()
    (tmp_path / "inventories" / "x.yaml").write_text("all: [")
    assert completed(tmp_path, *words) == []
    assert completed(tmp_path / "nowhere", *words) == []


def test_a_wanted_model_is_completed_for_explain_before_anything_was_applied(tmp_path: Path) -> None:
    with served(builtin_fleet("demo").with_time_scale(0), tmp_path) as lab:
        assert completed(lab.root, "explain", "mo") == ["model.nomic-embed-text"]
