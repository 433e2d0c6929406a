"""The time of a simulated fleet: how long loads, pulls and releases take, and what "now" is for keep-alives.

Three kinds: real (`time_scale: 1.0`), scaled (0.1 is ten times as fast, 0 is at once), and by hand (`time_scale: manual`), where a load of
five seconds ends when somebody calls `advance(5)`, so that tests need no sleep. Only the fleet's own work is scaled: an expiry is a date on
the wire and so counts real seconds, and the delay of the fault `slow` is what a client's timeout measures. `advance` moves the date in
every kind.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

_LONGEST_TIMER = 86_400.0 * 7


class Clock:
    """Use it only from the thread of the event loop. `scale` None is by hand."""

    def __init__(self, scale: float | None) -> None:
        self.scale = scale
        self._started = datetime.now(UTC)
        self._advanced = 0.0
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._watchers: list[Callable[[], None]] = []

    def now(self) -> datetime:
        """The date of this fleet, UTC."""
        base = self._started if self.scale is None else datetime.now(UTC)
        return base + timedelta(seconds=self._advanced)

    async def sleep(self, seconds: float) -> None:
        """Waits for a duration of the fleet's own work."""
        if self.scale is not None:
            await asyncio.sleep(max(0.0, seconds) * self.scale)
            return
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        woken = asyncio.Event()
        self._at(seconds, woken.set)
        await woken.wait()

    def later(self, seconds: float, act: Callable[[], None]) -> None:
        """Calls `act` once that much of the fleet's own work time has gone by; at once where that is nothing."""
        if self.scale is None and seconds > 0:
            self._at(seconds, act)
        elif self.scale and seconds > 0:
            asyncio.get_running_loop().call_later(seconds * self.scale, act)
        else:
            act()

    def at(self, when: datetime, act: Callable[[], None]) -> None:
        """Calls `act` around a date. `act` must judge for itself whether its time has come: it may be called early, late or twice."""
        seconds = (when - self.now()).total_seconds()
        if self.scale is not None and seconds < _LONGEST_TIMER:
            asyncio.get_running_loop().call_later(max(0.0, seconds) + 0.001, act)

    def on_advance(self, act: Callable[[], None]) -> None:
        """`act` is called after every `advance`."""
        self._watchers.append(act)

    def advance(self, seconds: float) -> None:
        """Moves the date forward, and where time is by hand ends all work that is then due."""
        self._advanced += seconds
        while self._due and self._due[0][0] <= self._advanced:
            heapq.heappop(self._due)[2]()
        for act in self._watchers:
            act()

    def _at(self, seconds: float, act: Callable[[], None]) -> None:
        heapq.heappush(self._due, (self._advanced + seconds, next(self._order), act))
