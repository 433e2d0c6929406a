"""Work on an event loop of its own, in a thread: what waits there for a database, or reckons for long, holds up nobody else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from reconciler.operations.reporter import OperationEvent, Reporter

Found = TypeVar("Found")


async def apart(work: Callable[[Reporter], Coroutine[Any, Any, Found]], report: Reporter) -> Found:
    """What `work` comes to. What it reports is reported on the loop of the caller, in order and before this returns. Cancelled, it cancels
    the work, waits for its end, and gives what that still came to."""
    here, there = asyncio.get_running_loop(), asyncio.new_event_loop()
    task: asyncio.Task[Found] | None = None
    cut = False

    def tell(event: OperationEvent) -> None:
        here.call_soon_threadsafe(report, event)

    def cancel() -> None:
        nonlocal cut
        cut = True
        if task is not None:
            task.cancel()

    async def main() -> Found:
        nonlocal task
        task = asyncio.ensure_future(work(tell))
        if cut:
            task.cancel()
        return await task

    def run() -> Found:
        with asyncio.Runner(loop_factory=lambda: there) as runner:
            return runner.run(main())

    running = asyncio.ensure_future(asyncio.to_thread(run))
    while True:
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            if running.done():
                raise
            with suppress(RuntimeError):  # it ended just now
                there.call_soon_threadsafe(cancel)
