"""What answers and what looks are one: whichever ends, the other ends too, and a step that runs is never cut by that."""

from __future__ import annotations

import asyncio

import pytest

from reconciler.execution import StopSignal
from reconciler.service.http.server import together


class Heard:
    """Signals that say how often they were asked to stop; the second time cuts."""

    def __init__(self) -> None:
        self.stop, self.stopped, self.cut = StopSignal(), asyncio.Event(), asyncio.Event()

    def request_stop(self) -> None:
        (self.cut if self.stop.requested else self.stopped).set()
        self.stop.request_stop()


@pytest.mark.parametrize("times", [0, 1, 2])
def test_a_run_ends_its_steps_where_the_server_fails_or_the_service_is_cancelled_and_is_cut_only_by_a_second_cancel(times: int) -> None:
    said: list[str] = []

    async def main() -> None:
        signals, ended, applying = Heard(), asyncio.Event(), asyncio.Event()

        async def answer() -> None:
            if times == 0:
                await applying.wait()
                raise OSError("no descriptors")
            await ended.wait()

        async def look() -> None:
            applying.set()
            await signals.stopped.wait()
            if times == 2:
                both.cancel()
                await signals.cut.wait()
                said.append("cut")
            else:
                await asyncio.sleep(0)
                said.append("cut" if signals.cut.is_set() else "step done")

        both = asyncio.ensure_future(together(answer(), look(), signals, ended.set))  # type: ignore[arg-type]
        await applying.wait()
        if times:
            both.cancel()
        await both

    with pytest.raises(asyncio.CancelledError if times else OSError):
        asyncio.run(main())
    assert said == (["cut"] if times == 2 else ["step done"])
