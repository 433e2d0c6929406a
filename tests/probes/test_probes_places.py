"""Who waits for an answer does not keep others from being asked; who has work to do does."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any

import pytest

from reconciler.probes.places import PATIENCE, ProbePlaces


class _Jumping(selectors.DefaultSelector):
    """A selector that does not wait: the clock of its loop goes on by the time that it would have waited."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready and timeout:
            self.now += timeout
        return ready


def run(main: Coroutine[Any, Any, Any]) -> float:
    """Seconds that `main` took by a clock on which nothing but waiting takes time."""
    selector = _Jumping()
    loop = asyncio.SelectorEventLoop(selector)
    loop.time = lambda: selector.now  # type: ignore[method-assign]
    try:
        loop.run_until_complete(main)
    finally:
        loop.close()
    return selector.now


class Crowd:
    def __init__(self) -> None:
        self.now, self.most, self.ended = 0, 0, 0

    async def wait(self, seconds: float) -> None:
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await asyncio.sleep(seconds)
        finally:
            self.now, self.ended = self.now - 1, self.ended + 1


def test_the_dead_cost_one_deadline_together():
    async def main() -> None:
        places, crowd = ProbePlaces(10, most=1000), Crowd()
        await asyncio.gather(*(places.ask(crowd.wait(5.0 if number % 20 == 19 else 0.01)) for number in range(4000)))
        assert crowd.ended == 4000

    dead_in_turn = 200 / 10 * 5.0
    took = run(main())
    assert took < 5.0 + 4000 / 10 * 0.01 + 200 / 10 * PATIENCE + 1
    assert took < dead_in_turn / 4


def test_no_more_are_at_work_than_there_are_places():
    async def main() -> None:
        places, crowd = ProbePlaces(10, most=1000), Crowd()
        await asyncio.gather(*(places.ask(crowd.wait(PATIENCE / 2)) for _ in range(100)))
        assert crowd.most == 10

    run(main())


def test_those_that_wait_are_bounded_too():
    async def main() -> None:
        places, crowd = ProbePlaces(10, most=30), Crowd()
        await asyncio.gather(*(places.ask(crowd.wait(5.0)) for _ in range(100)))
        assert crowd.most == 30

    run(main())


def test_who_is_asked_late_because_this_machine_is_busy_keeps_its_place():
    async def main() -> None:
        places, crowd = ProbePlaces(1, most=10), Crowd()
        loop = asyncio.get_running_loop()

        def busy() -> None:
            loop._selector.now += 1.0  # type: ignore[attr-defined]
            if loop.time() < 20:
                loop.call_later(PATIENCE / 2, busy)

        busy()
        first = asyncio.ensure_future(places.ask(crowd.wait(15.0)))
        second = asyncio.ensure_future(places.ask(crowd.wait(1.0)))
        await first
        assert crowd.most == 1
        await second

    run(main())


def test_a_cancelled_question_ends_before_its_place_is_free_again():
    async def main() -> None:
        places, crowd = ProbePlaces(1, most=1), Crowd()
        first, second = (asyncio.ensure_future(places.ask(crowd.wait(60.0))) for _ in range(2))
        await asyncio.sleep(0.1)
        for task in (first, second):
            task.cancel()
        done = await asyncio.gather(first, second, return_exceptions=True)
        assert [type(one) for one in done] == [asyncio.CancelledError, asyncio.CancelledError]
        assert (crowd.now, crowd.ended) == (0, 1)
        await places.ask(crowd.wait(0.1))

    run(main())


def test_what_goes_wrong_reaches_who_asked():
    async def fail() -> None:
        raise ValueError("no")

    async def main() -> None:
        places = ProbePlaces(1)
        for _ in range(2):
            with pytest.raises(ValueError, match="no"):
                await places.ask(fail())

    run(main())
