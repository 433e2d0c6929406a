"""Waiting for the lock of a state without holding up the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from reconciler.fleet import LockHeld
from reconciler.operations.reporter import LockAwaited, Reporter

_RETRY_SECONDS = 0.5
Found = TypeVar("Found")


async def once_free(act: Callable[[], Found], seconds: float, report: Reporter) -> tuple[Found, float]:
    """What `act` returns once it raises LockHeld no more, and how many of the `seconds` are left. Raises LockHeld when they are used up."""
    waited = 0.0
    while True:
        try:
            return act(), seconds - waited
        except LockHeld as error:
            if waited >= seconds:
                raise
            if not waited:
                report(LockAwaited(error.problems[0].what, seconds))
        pause = min(_RETRY_SECONDS, seconds - waited)
        await asyncio.sleep(pause)
        waited += pause
