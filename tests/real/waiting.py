"""The one place where the real suite waits: for a condition that a server reaches by itself, never for time to pass."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
POLL_SECONDS = 0.05


class NeverHappened(AssertionError):
    """The condition was not met in time."""


def wait_until(condition: Callable[[], T | None], seconds: float, what: str) -> T:
    """What `condition` returned when it first was true; NeverHappened, naming `what` and the last answer, after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise NeverHappened(f"{what}: not within {seconds:g} s; last answer: {answer!r}")
        time.sleep(POLL_SECONDS)
