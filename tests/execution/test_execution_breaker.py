"""An engine that keeps failing is left alone for a while, then tried with one step; what nobody answers for counts for the whole node."""

from __future__ import annotations

from dataclasses import replace

import pytest
from scripted import Room, refused

from reconciler.execution import ExecutionOptions, StepResult
from reconciler.execution.breaker import Breakers, Gate
from reconciler.fleet import Breaker, Policy
from reconciler.planning import Action, Step
from reconciler.state import StepStatus

THREE = Breaker(3, 60.0)


def failing(count: int, policy: Breaker | None = THREE) -> Room:
    """So many loads on `a`, all of which fail, and one on `b`."""
    room = Room(nodes=("a", "b"), options=ExecutionOptions(keep_going=True), policy=Policy(breaker=policy))
    for number in range(count):
        name = f"m{number}:latest"
        room.want(name, "a")
        room.step(Action.LOAD, name, node="a")
        room.engines["a"].fails["load", name] = [refused()]
    room.want("other:latest", "b")
    room.step(Action.LOAD, "other:latest", node="b")
    return room


def test_after_so_many_failures_in_a_row_the_rest_of_that_engine_is_skipped_with_the_reason() -> None:
    room = failing(6)
    outcome = room.run()
    assert [result.code for result in outcome.results] == ["out_of_memory"] * 3 + ["breaker_open"] * 3 + [None]
    assert len(room.engines["a"].log) == 3
    assert outcome.exit_code == 3
    skipped = outcome.results[3]
    assert skipped.message == ("3 steps in a row failed on a/e, the last with out_of_memory; it is left alone for 1m (policy.breaker)")
    assert room.state.journaled[skipped.step_id] == (StepStatus.SKIPPED, f"breaker_open: {skipped.message}")


def test_without_the_policy_every_step_is_tried() -> None:
    assert len(failing(6, None).run().failures) == 6


def test_what_needed_a_skipped_step_is_skipped_too() -> None:
    room = failing(4)
    room.want("late:latest", "b")
    late = room.step(Action.LOAD, "late:latest", node="b", needs=[room.steps[3]])
    assert room.codes(room.run())[late.id] == "need_not_met"


def test_a_success_between_failures_starts_the_count_anew() -> None:
    room = failing(5)
    room.engines["a"].fails["load", "m2:latest"] = []
    assert [result.code for result in room.run().results[:5]] == ["out_of_memory"] * 2 + [None] + ["out_of_memory"] * 2


def test_a_registry_that_lacks_the_model_is_not_held_against_the_engine() -> None:
    room = failing(0)
    for number in range(5):
        name = f"p{number}:latest"
        room.want(name, "a")
        room.engines["a"].installed.discard(name)
        room.engines["a"].fails["pull", name] = [refused("pull_failed")]
        room.step(Action.PULL, name, node="a")
    assert {result.code for result in room.run().results[1:]} == {"pull_failed"}


def half_open(reset: float, succeeds: bool) -> tuple[Room, list[str | None]]:
    """Three failures at once; two steps of `a` come up when a load on `b` is over, after 100 s; their codes."""
    room = failing(3, Breaker(3, reset))
    slow = room.steps[3]
    room.engines["b"].load_takes = 100.0
    for name in ("x:latest", "y:latest"):
        room.want(name, "a")
        room.step(Action.LOAD, name, node="a", needs=[slow])
        room.engines["a"].fails["load", name] = [] if succeeds else [refused()]
    codes = room.codes(room.run())
    return room, [codes[step.id] for step in room.steps[4:]]


@pytest.mark.parametrize(
    ("reset", "succeeds", "expected"),
    [
        (60.0, True, [None, None]),
        (60.0, False, ["out_of_memory", "breaker_open"]),
        (600.0, True, ["breaker_open", "breaker_open"]),
    ],
)
def test_after_the_reset_one_step_is_on_trial_and_decides_for_the_others(reset: float, succeeds: bool, expected: list[str | None]) -> None:
    assert half_open(reset, succeeds)[1] == expected


class Seconds:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def step(name: str, node: str = "a", engine: str = "e") -> Step:
    room = Room(nodes=(node,))
    made = room.step(Action.LOAD, name, node=node)
    return made if engine == "e" else replace(made, engine=engine)


def ended(of: Step, status: StepStatus, code: str | None = None) -> StepResult:
    return StepResult(of.id, of.address, of.action, status, code)


def test_while_one_step_is_on_trial_the_others_wait() -> None:
    clock = Seconds()
    breakers = Breakers(Breaker(1, 60.0), clock)
    one, two = step("x:1"), step("y:1")
    breakers.end(one, ended(one, StepStatus.FAILED, "load_failed"))
    assert breakers.gate(two) is Gate.BARRED
    clock.now = 60.0
    assert breakers.gate(two) is Gate.OPEN
    breakers.begin(two)
    assert breakers.gate(one) is Gate.ON_TRIAL
    breakers.end(two, ended(two, StepStatus.SKIPPED, "no_room"))
    assert breakers.gate(one) is Gate.OPEN
    breakers.begin(one)
    breakers.end(one, ended(one, StepStatus.DONE))
    breakers.begin(one)
    assert breakers.gate(two) is Gate.OPEN


@pytest.mark.parametrize(("code", "other"), [("unreachable", Gate.BARRED), ("timeout", Gate.BARRED), ("load_failed", Gate.OPEN)])
def test_where_nobody_answers_the_engines_of_a_node_count_together(code: str, other: Gate) -> None:
    breakers = Breakers(Breaker(2, 60.0), Seconds())
    first, second, third = (step("x:1", "a", engine) for engine in ("e1", "e2", "e3"))
    for one in (first, second):
        breakers.end(one, ended(one, StepStatus.FAILED, code))
    assert breakers.gate(third) is other
    assert breakers.gate(step("x:1", "b")) is Gate.OPEN
    if other is Gate.BARRED:
        assert breakers.why(third).startswith(f"2 steps in a row failed on a, the last with {code};")
