"""Heat and memory pressure are looked at when a load is to run: what is new is held, what was there is restored unless heat is critical."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest
from scripted import GIB, Room, loaded

from reconciler.fleet import CardFacts, Heat, MemoryPressure, Policy, Thermal
from reconciler.planning import Action, Cause, Reason

THERMAL = Policy(thermal=Thermal(warning=70, throttling=80, critical=90, hysteresis=5))
PRESSURE = Policy(memory_pressure=MemoryPressure(critical=Fraction(8, 10)))


def room(policy: Policy, cause: Cause = Cause.PENDING, action: Action = Action.LOAD, **card: float | int | None) -> Room:
    """A room with one load whose card looks like this when it is looked at."""
    found = Room(policy=policy)
    found.want("x")
    step = found.step(action, "x", grows=1)
    found.steps[-1] = replace(step, cause=cause)
    found.cards_now = (replace(CardFacts(0, total_bytes=8 * GIB), **card),)
    return found


@pytest.mark.parametrize(
    ("temperature", "cause", "code"),
    [
        (79.0, Cause.PENDING, None),
        (80.0, Cause.PENDING, "thermal_throttling"),
        (80.0, Cause.DISPLACED, "thermal_throttling"),
        (80.0, Cause.DRIFT, None),
        (80.0, Cause.BOTH, None),
        (90.0, Cause.DRIFT, "thermal_critical"),
        (None, Cause.PENDING, None),
    ],
)
def test_too_hot_a_card_takes_nothing_new_and_a_critically_hot_one_nothing(
    temperature: float | None, cause: Cause, code: str | None
) -> None:
    one = room(THERMAL, cause, temperature=temperature)
    outcome = one.run()
    assert outcome.results[0].code == code
    assert (outcome.exit_code, bool(one.engine.log)) == ((0, True) if code is None else (3, False))


def test_a_full_card_takes_nothing_new_and_is_restored() -> None:
    assert room(PRESSURE, used_bytes=7 * GIB).run().results[0].code == "memory_pressure"
    assert room(PRESSURE, used_bytes=6 * GIB).run().done == 1
    assert room(PRESSURE, Cause.DRIFT, used_bytes=8 * GIB).run().done == 1
    assert room(Policy(), used_bytes=8 * GIB, temperature=200.0).run().done == 1


def test_the_state_remembers_how_hot_a_card_was_for_the_hysteresis() -> None:
    one = room(THERMAL, temperature=84.0)
    one.run()
    assert one.state.heat == {("a", 0): Heat.THROTTLING}
    again = room(THERMAL, temperature=76.0)
    again.state.heat = dict(one.state.heat)
    assert again.run().results[0].code == "thermal_throttling"
    cooler = room(THERMAL, temperature=74.0)
    cooler.state.heat = dict(one.state.heat)
    assert cooler.run().done == 1
    assert cooler.state.heat == {("a", 0): Heat.WARNING}


def test_nobody_leaves_for_a_load_that_is_held() -> None:
    one = Room(policy=THERMAL)
    one.want("x")
    one.engine.residents["y:latest"] = loaded("y:latest")
    unload = one.step(Action.UNLOAD, "y:latest")
    one.steps[-1] = unload = replace(unload, reason=Reason("displaced", ""), cause=Cause.DISPLACED)
    one.step(Action.LOAD, "x", grows=1, needs=[unload])
    one.cards_now = (CardFacts(0, total_bytes=8 * GIB, temperature=85.0),)
    outcome = one.run()
    assert [result.code for result in outcome.results] == ["thermal_throttling", "need_not_met"]
    assert one.engine.log == []


def test_a_card_that_nobody_can_look_at_now_holds_nothing_up() -> None:
    one = room(THERMAL, temperature=99.0)
    one.cards_now = None
    assert one.run().done == 1


def test_unloads_and_pulls_run_whatever_the_heat() -> None:
    one = room(THERMAL, action=Action.UNLOAD, temperature=99.0)
    one.engine.residents["x:latest"] = loaded("x:latest")
    assert one.run().done == 1
