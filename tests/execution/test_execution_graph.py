"""The order of steps and the cards' arithmetic, for any plan."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted import Room, loaded, refused

from reconciler.execution import ExecutionOptions, StepDone, StepFailed, StepStarted
from reconciler.execution.graph import StepGraph
from reconciler.execution.ledger import Ledger
from reconciler.fleet import GpurecError
from reconciler.planning import Action, CardBalance, Cause, ModelStep, Plan, Precondition, Reason

ACTIONS = (Action.LOAD, Action.UNLOAD, Action.RELOAD, Action.PULL, Action.WAIT, Action.UPDATE)


def _step(number: int, action: Action, node: str, needs: Sequence[str] = ()) -> ModelStep:
    name = f"m{number}"
    return ModelStep(
        id=f"s{number}",
        address=f"model.{name}@{node}/e",
        action=action,
        reason=Reason("r", ""),
        cause=Cause.PENDING,
        model=name,
        node=node,
        engine="e",
        engine_name=name,
        base_name=name,
        needs=tuple(needs),
    )


@st.composite
def graphs(draw: st.DrawFn) -> list[ModelStep]:
    count = draw(st.integers(1, 25))
    steps = []
    for number in range(count):
        needs = draw(st.lists(st.integers(0, number - 1), max_size=3, unique=True)) if number else []
        steps.append(_step(number, draw(st.sampled_from(ACTIONS)), draw(st.sampled_from("ab")), [f"s{one}" for one in needs]))
    return steps


@given(graphs(), st.integers(0, 2**16), st.integers(1, 5))
def test_each_step_begins_after_its_needs_and_an_engine_has_one_load_at_a_time(steps: list[ModelStep], seed: int, parallelism: int) -> None:
    chance = random.Random(seed)
    graph = StepGraph(steps)
    running: list[int] = []
    done: set[str] = set()
    begun: list[int] = []
    while True:
        while len(running) < parallelism and (number := graph.take()) is not None:
            assert done.issuperset(steps[number].needs)
            running.append(number)
            begun.append(number)
            loads = Counter(engine for one in running if (engine := steps[one].lane) is not None)
            assert max(loads.values(), default=0) <= 1
        if not running:
            break
        number = running.pop(chance.randrange(len(running)))
        assert list(graph.finish(number, True)) == []
        done.add(steps[number].id)
    assert sorted(begun) == list(range(len(steps)))


@given(graphs(), st.integers(0, 2**16))
def test_a_failure_takes_along_exactly_what_needs_it(steps: list[ModelStep], seed: int) -> None:
    chance = random.Random(seed)
    failing = {step.id for step in steps if chance.random() < 0.3}
    graph = StepGraph(steps)
    ended: dict[str, str] = {}
    while (number := graph.take()) is not None:
        succeeded = steps[number].id not in failing
        ended[steps[number].id] = "done" if succeeded else "failed"
        for lost, cause in graph.finish(number, succeeded):
            assert steps[cause].id in steps[lost].needs
            assert ended[steps[cause].id] in ("failed", "lost")
            assert steps[lost].id not in ended
            ended[steps[lost].id] = "lost"
    assert len(ended) == len(steps)
    for step in steps:
        assert (ended[step.id] == "lost") == any(ended[needed] in ("failed", "lost") for needed in step.needs)


def test_steps_begin_in_the_order_of_the_plan_where_nothing_else_decides() -> None:
    graph = StepGraph([_step(number, Action.UNLOAD, "a") for number in range(20)])
    assert [graph.take() for _ in range(20)] == list(range(20))


def test_a_busy_engine_does_not_hold_up_another() -> None:
    graph = StepGraph([_step(0, Action.LOAD, "a"), _step(1, Action.LOAD, "a"), _step(2, Action.LOAD, "b")])
    assert [graph.take(), graph.take(), graph.take()] == [0, 2, None]
    assert list(graph.finish(0, True)) == []
    assert graph.take() == 1


@pytest.mark.parametrize(
    "steps",
    [
        [_step(0, Action.LOAD, "a", ["s1"]), _step(1, Action.LOAD, "a", ["s0"])],
        [_step(0, Action.LOAD, "a", ["nowhere"])],
        [_step(0, Action.LOAD, "a"), _step(0, Action.LOAD, "a")],
    ],
)
def test_a_plan_whose_steps_do_not_hang_together_is_refused(steps: list[ModelStep]) -> None:
    with pytest.raises(GpurecError, match="make the plan again"):
        StepGraph(steps)


def _plan(*cards: CardBalance) -> Plan:
    return Plan("f", None, 0, "c", "", "d", (), 0, 0, gpus=cards)


def _card(usable: int | None, before: int = 0, foreign: int = 0) -> CardBalance:
    return CardBalance("a", 0, 10, usable, foreign, True, before, 0, 0)


def _taking(count: int, action: Action = Action.LOAD) -> ModelStep:
    step = _step(1, action, "a")
    conditions = (Precondition("a/0.free_bytes", at_least=count),) if action is not Action.UNLOAD else ()
    return replace(step, gpus=(0,), vram_bytes=count, preconditions=conditions)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 12)), max_size=30), st.integers(0, 10), st.integers(0, 14), st.integers(0, 5))
def test_a_card_never_holds_more_than_usable_or_than_before(moves: list[tuple[bool, int]], usable: int, before: int, foreign: int) -> None:
    ledger = Ledger(_plan(_card(usable, before, foreign)))
    for load, count in moves:
        step = _taking(count, Action.LOAD if load else Action.UNLOAD)
        if not load:
            ledger.give_back(step)
        elif ledger.lacking(step) is None:
            ledger.book(step)
            held = ledger.held("a", 0)
            assert held is not None
            assert held + foreign <= max(usable, before + foreign)


def test_a_reload_that_shrinks_gives_back_what_it_takes_less() -> None:
    ledger = Ledger(_plan(_card(10, 8)))
    assert ledger.lacking(_taking(8)) is not None
    ledger.shrink(replace(_taking(2, Action.RELOAD), before={"vram_bytes": 8}))
    assert (ledger.held("a", 0), ledger.lacking(_taking(8))) == (2, None)
    ledger.shrink(replace(_taking(5, Action.RELOAD), before={"vram_bytes": 2}))
    assert ledger.held("a", 0) == 2


def test_a_card_of_unknown_size_has_no_account() -> None:
    ledger = Ledger(_plan(_card(None)))
    assert ledger.lacking(_taking(10**12), None) is None
    assert ledger.held("a", 0) is None


@given(st.data())
def test_a_run_does_every_step_after_its_needs_and_one_load_at_a_time(data: st.DataObject) -> None:
    room = Room(nodes=("a", "b"), options=ExecutionOptions(parallelism=data.draw(st.integers(1, 4)), keep_going=True))
    for number in range(data.draw(st.integers(1, 8))):
        node, action = data.draw(st.sampled_from("ab")), data.draw(st.sampled_from((Action.LOAD, Action.UNLOAD, Action.RELOAD)))
        name = f"m{number}:latest"
        needs = [room.steps[one] for one in data.draw(st.sets(st.integers(0, number - 1), max_size=2))] if number else []
        if action is Action.UNLOAD:
            room.engines[node].residents[name] = loaded(name)
        else:
            room.want(name, node)
            if data.draw(st.booleans()):
                room.engines[node].fails["load", name] = [refused()]
        room.step(action, name, node=node, needs=needs)
    outcome = room.run()
    done: set[str] = set()
    for event in room.events:
        if isinstance(event, StepStarted):
            assert done.issuperset(event.step.needs)
        elif isinstance(event, StepDone):
            done.add(event.step.id)
        elif isinstance(event, StepFailed):
            assert event.step.id not in done
    assert all(engine.most_loading <= 1 for engine in room.engines.values())
    assert len(outcome.results) == len(room.steps)
    assert outcome.done + outcome.satisfied + outcome.failed + outcome.skipped == len(room.steps)
