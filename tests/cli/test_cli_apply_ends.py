"""What an apply says where there is nothing to carry out, or where its options mean nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_lab import SMALL, Lab, served

from reconciler.sim import builtin_fleet


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with served(builtin_fleet("demo").with_time_scale(0), tmp_path) as lab:
        lab.want(SMALL)
        yield lab


def test_a_saved_plan_that_has_nothing_to_do_tells_why_it_does_not_end_with_0(lab: Lab) -> None:
    lab.want("version: 1\nmodels:\n  llama3.1:8b: {engine: ollama, vram: 600GiB}\n")
    assert lab.run("plan", "--out", "p.json").exit_code == 0
    result = lab.run("apply", "p.json")
    assert result.exit_code == 3
    assert "1 replica has no place; `gpurec plan` says why." in result.stdout


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (("--max-fail", "some"), "'some' is no number of steps; write 3 or 10%"),
        (("--max-fail", "3", "--keep-going"), "leave one of them out"),
    ],
)
def test_a_bound_to_failures_that_means_nothing_is_refused_before_a_node_is_asked(lab: Lab, given: tuple[str, ...], says: str) -> None:
    before = sum(len(engine.requests) for engine in lab.fleet.engines.values())
    result = lab.run("apply", "--auto-approve", *given)
    assert result.exit_code == 1
    assert says in result.stderr
    assert sum(len(engine.requests) for engine in lab.fleet.engines.values()) == before
