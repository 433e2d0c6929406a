"""How often one token may have something done that costs more than an answer."""

from __future__ import annotations

import time
from collections import deque

from starlette.exceptions import HTTPException

MOST, WITHIN = 30, 60.0
"""So often within so many seconds."""


class Rate:
    """Of one kind of thing, `what`, for every token by itself."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._times: dict[str, deque[float]] = {}

    def count(self, who: str) -> None:
        """Counts one. Raises 429 where it is one too many."""
        times, now = self._times.setdefault(who, deque(maxlen=MOST)), time.monotonic()
        if len(times) == MOST and now - times[0] < WITHIN:
            wait = int(times[0] + WITHIN - now) + 1
            raise HTTPException(429, f"a token {self._what} at most {MOST} times a minute", {"Retry-After": str(wait)})
        times.append(now)
