"""The daily round on Ollama and llama-server's router, on the CPU and on a card in software: plan, apply, nothing left, drift, repair."""

from __future__ import annotations

from typing import Any

import pytest
from rigs import ROOM_FOR_ONE, ROOM_FOR_TWO, Bench, Rig
from workspaces import steps

PLACES = {
    "ollama-cpu": ("ollama", ()),
    "ollama-card": ("ollama", (ROOM_FOR_TWO,)),
    "router-cpu": ("llamacpp", ()),
    "router-card": ("llamacpp", (ROOM_FOR_TWO,)),
}


ON_CARDS = pytest.mark.parametrize("rig", ["ollama-card", "router-card"], indirect=True)
ON_CARD_AND_CPU = pytest.mark.parametrize("rig", ["ollama-card", "router-cpu"], indirect=True)
ON_CPU_AND_CARD = pytest.mark.parametrize("rig", ["ollama-cpu", "router-card"], indirect=True)


@pytest.fixture(params=PLACES)
def rig(request: pytest.FixtureRequest, bench: Bench) -> Rig:
    kind, sizes = PLACES[request.param]
    return bench.rig(kind, *sizes)


def restore(rig: Rig) -> dict[str, Any]:
    """Plan shows gemma's load with exit 2, apply does it, and then nothing is left to do. Returns that plan."""
    plan = rig.workspace.plan(2)
    assert steps(plan) == [("load", rig.address("gemma"))]
    rig.workspace.apply(0)
    assert rig.residents() == {"gemma"}
    rig.workspace.expect_nothing_to_do()
    return plan


def test_apply_loads_what_plan_showed_and_a_second_apply_sends_nothing(rig: Rig) -> None:
    rig.want("gemma")
    rig.workspace.plan(2)
    assert rig.recorder.changes() == []
    assert rig.residents() == set()

    plan = restore(rig)
    assert plan["steps"][0]["cause"] == "pending"

    rig.recorder.forget()
    rig.workspace.apply(0)
    assert rig.recorder.changes() == []
    assert rig.recorder.requests != []


def test_an_unload_by_hand_is_drift_and_the_next_apply_puts_the_model_back(rig: Rig) -> None:
    rig.want("gemma")
    rig.workspace.apply(0)
    rig.unload("gemma")
    rig.workspace.run("drift").expect(2)
    plan = restore(rig)
    assert [(entry["address"], entry["kind"]) for entry in plan["drift"]] == [(rig.address("gemma"), "missing")]
    assert plan["steps"][0]["cause"] == "drift"
    rig.workspace.run("drift").expect(0)


@ON_CARD_AND_CPU
def test_an_engine_restarted_empty_gets_its_models_back(rig: Rig) -> None:
    rig.want("gemma")
    rig.workspace.apply(0)
    rig.server.kill()
    rig.server.start()
    assert rig.residents() == set()
    restore(rig)


@ON_CPU_AND_CARD
def test_a_server_killed_in_the_middle_of_a_load_is_told_and_the_next_run_converges(rig: Rig) -> None:
    rig.want("gemma")
    rig.kill_during_next_load()
    told = rig.workspace.apply(3, 4)
    rig.await_killed()
    assert rig.kind in told.out + told.err
    assert "Traceback" not in told.err
    rig.server.start()
    restore(rig)


@ON_CARD_AND_CPU
def test_a_resident_that_is_as_wanted_is_adopted_without_a_word_to_the_engine(rig: Rig) -> None:
    rig.load("gemma")
    rig.want("gemma")
    rig.workspace.apply(0)
    assert rig.recorder.changes() == []
    rig.workspace.expect_nothing_to_do()


@ON_CARDS
def test_a_resident_that_nobody_asked_for_is_shown_and_left_alone(rig: Rig) -> None:
    rig.load("twin")
    rig.want("gemma")
    rig.workspace.apply(0)
    assert rig.residents() == {"gemma", "twin"}
    plan = rig.workspace.plan(0)
    assert plan["steps"] == []
    assert [entry["name"] for entry in plan["unmanaged"]] == [rig.engine_name("twin")]


@ON_CARDS
def test_a_model_that_left_the_file_is_unloaded_and_not_deleted(rig: Rig) -> None:
    rig.want("gemma", "twin")
    rig.workspace.apply(0)
    assert rig.residents() == {"gemma", "twin"}
    rig.want("gemma")
    assert steps(rig.workspace.plan(2)) == [("unload", rig.address("twin"))]
    rig.workspace.apply(0)
    assert rig.residents() == {"gemma"}
    rig.load("twin")
    assert rig.residents() == {"gemma", "twin"}


@pytest.mark.parametrize("kind", ["ollama", "llamacpp"])
def test_a_second_model_without_room_beside_the_first_is_unplaced_with_its_reason(bench: Bench, kind: str) -> None:
    rig = bench.rig(kind, ROOM_FOR_ONE)
    rig.workspace.want({"gemma": rig.model(priority=1), "twin": rig.model()})
    plan = rig.workspace.plan(3)
    assert steps(plan) == [("load", rig.address("gemma"))]
    (unplaced,) = plan["unplaced"]
    assert unplaced["model"] == "twin"
    assert [candidate["reason"] for candidate in unplaced["candidates"]] == ["insufficient_vram"]
    told = rig.workspace.apply(3)
    assert "twin" in told.out
    assert rig.residents() == {"gemma"}
    assert rig.cards[0].refusals() == 0
