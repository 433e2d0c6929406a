"""Runs an operation for a command: an event loop, signals that end it, and its reports on stderr."""

from __future__ import annotations

import gc
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from reconciler.cli.reporting import reporting
from reconciler.cli.settings import Settings
from reconciler.cli.signals import on_end_signal

if TYPE_CHECKING:
    from reconciler.execution import StopSignal
    from reconciler.operations.reporter import OperationEvent, Reporter

Found = TypeVar("Found")


def run(settings: Settings, operation: Callable[[Reporter], Coroutine[Any, Any, Found]]) -> Found:
    """Runs it to its end. A signal ends it with KeyboardInterrupt."""
    import asyncio

    with reporting(settings) as report:

        async def main() -> Found:
            with on_end_signal(_ending(asyncio.current_task())):
                return await operation(report)

        with uncollected():
            try:
                return asyncio.run(main())
            except asyncio.CancelledError:
                raise KeyboardInterrupt from None


def run_stoppable(settings: Settings, operation: Callable[[Reporter, StopSignal], Coroutine[Any, Any, Found]]) -> Found:
    """Runs one that carries a plan out: the first signal lets running steps finish, the second cancels them. Before the first step begins
    a signal ends it with KeyboardInterrupt."""
    import asyncio

    from reconciler.execution import RunStarted, StopSignal

    stop, begun = StopSignal(), False

    with reporting(settings) as show:

        def report(event: OperationEvent) -> None:
            nonlocal begun
            begun = begun or isinstance(event, RunStarted)
            show(event)

        async def main() -> Found:
            loop, task, cancelled = asyncio.get_running_loop(), asyncio.current_task(), False

            def stopped() -> None:
                nonlocal cancelled
                if cancelled or task is None:  # a second cancel would tear the clearing up, and with it the record of what was cut
                    return
                if begun and not stop.requested:
                    stop.request_stop()
                    settings.say("Stopping: no more steps begin, those that run are waited for. ^C again cuts them.")
                    return
                cancelled = True
                if begun:
                    settings.say("Cutting the steps that run.")
                task.cancel()

            with on_end_signal(lambda: _soon(loop, stopped)):
                return await operation(report, stop)

        try:
            return asyncio.run(main())
        except asyncio.CancelledError:
            raise KeyboardInterrupt from None


@contextmanager
def uncollected() -> Iterator[None]:
    """Puts the cycle collector off while a fleet is built up, and what was built out of its sight.

    Nothing made here is garbage before the command ends, and looking through millions of objects again and again costs half the time of
    a large plan.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def _ending(task: Any) -> Callable[[], None]:
    """Ends the task: at once where it is at work itself or was told before, else by cancelling it, so that requests are closed in order."""
    import asyncio

    loop, told = asyncio.get_running_loop(), False

    def ended() -> None:
        nonlocal told
        if told or asyncio.current_task(loop) is task:
            raise KeyboardInterrupt
        told = True
        _soon(loop, task.cancel)

    return ended


def _soon(loop: Any, act: Callable[[], object]) -> None:
    """Wakes the loop for it: a signal handler runs between any two instructions of it."""
    loop.call_soon_threadsafe(act)
