"""A model whose requests its engine passes on to another host takes no memory and has no place where it would be kept loaded."""

from __future__ import annotations

from dataclasses import replace

import pytest
from planning.fleets import GIB, desired, facts, fleet, model, node, plan

from reconciler.fleet import Ensure, FleetFacts, Installed

ONE = fleet(node("a", 8 * GIB))
NAME = "big:1-cloud"


def with_cloud(seen: FleetFacts) -> FleetFacts:
    engine = replace(seen.nodes["a"].engines["ollama"], installed=(Installed(NAME, remote="https://ollama.com:443"),))
    return replace(seen, nodes={**seen.nodes, "a": replace(seen.nodes["a"], engines={"ollama": engine})})


@pytest.mark.parametrize("vram", [None, GIB])
def test_a_cloud_model_is_unplaced_with_its_reason_and_what_would_help(vram: int | None) -> None:
    made = plan(ONE, desired(model(NAME, ["a"], vram=vram)), with_cloud(facts(ONE)))
    assert made.steps == ()
    (unplaced,) = made.unplaced
    assert [one.reason for one in unplaced.candidates] == ["runs_elsewhere"]
    assert any("ensure: present" in line for line in unplaced.would_fit_if)


def test_a_cloud_model_that_is_only_to_be_there_is_there() -> None:
    made = plan(ONE, desired(model(NAME, ["a"], ensure=Ensure.PRESENT)), with_cloud(facts(ONE)))
    assert made.unplaced == ()
    assert {step.action.value for step in made.steps} <= {"adopt"}
