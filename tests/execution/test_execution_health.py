"""How a run looks at an engine that does not answer: how often, how long, and when it is believed again."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence

import pytest
from scripted import Room, Time

from reconciler.execution import ExecutionOptions, looked_at
from reconciler.execution.health import with_health
from reconciler.execution.kinds.model.waits import EngineWatch
from reconciler.fleet import USUAL_HEALTH, EngineFacts, EngineId, EngineKind, EngineSpec, Health, Policy, Unreachable
from reconciler.planning import Action

SPEC = EngineSpec(EngineId("a", "e"), EngineKind.OLLAMA, "http://a:1", timeout=5.0)


def one_load(health: Health, down_looks: int) -> tuple[Room, str | None]:
    room = Room(policy=Policy(health=health))
    room.want("m:latest")
    room.step(Action.LOAD, "m:latest")
    facts = asyncio.run(room.facts())
    room.engine.down_looks = down_looks
    return room, room.run(facts).results[0].code


@pytest.mark.parametrize(
    ("unhealthy_after", "down_looks", "code"), [(3, 2, None), (3, 3, "unreachable"), (6, 5, None), (1, 1, "unreachable")]
)
def test_an_engine_is_unreachable_after_so_many_failed_looks(unhealthy_after: int, down_looks: int, code: str | None) -> None:
    assert one_load(Health(unhealthy_after=unhealthy_after), down_looks)[1] == code


def test_looks_are_an_interval_apart() -> None:
    room, code = one_load(Health(interval=20.0), 2)
    assert code is None
    assert room.time.now == pytest.approx(40.0 + room.engine.load_takes, abs=20.0)
    assert room.time.now >= 40.0


class Answering:
    """Answers looks as told: `.` well, `x` not."""

    def __init__(self, answers: str) -> None:
        self.spec, self.answers, self.looks = SPEC, answers, 0

    async def observe(self, wanted: Collection[str] = ()) -> EngineFacts:
        self.looks += 1
        good = self.answers[self.looks - 1] == "."
        return EngineFacts(SPEC.id, SPEC.kind, good, None if good else "connection refused")


def looks_until_seen(answers: str, health: Health) -> int | None:
    """How many looks it took; None when the engine was given up."""
    engine, time = Answering(answers), Time()
    options = with_health(ExecutionOptions(), health)

    async def go() -> None:
        await EngineWatch(engine, (), options, time.clock, time.sleep).look_until_seen()  # type: ignore[arg-type]  # observing is all it does

    try:
        asyncio.run(go())
    except Unreachable:
        return None
    return engine.looks


@pytest.mark.parametrize(
    ("answers", "healthy_after", "looks"),
    [
        (".", 3, 1),
        ("x.", 1, 2),
        ("x...", 3, 4),
        ("x..x...", 3, 7),
        ("x.x.x", 2, None),
    ],
)
def test_after_a_failed_look_so_many_good_ones_in_a_row_are_asked_for(answers: str, healthy_after: int, looks: int | None) -> None:
    assert looks_until_seen(answers, Health(healthy_after=healthy_after)) == looks


def test_a_policy_without_a_timeout_leaves_that_of_the_engine() -> None:
    timeouts: Sequence[float] = [looked_at(SPEC, health).timeout for health in (USUAL_HEALTH, Health(timeout=30.0), Health(timeout=0.5))]
    assert timeouts == [5.0, 30.0, 0.5]
