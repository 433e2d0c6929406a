"""The request log: what a test looks at to say that nothing was sent."""

from __future__ import annotations

import itertools
from collections import deque
from typing import NamedTuple

from reconciler.sim.http import Request

LONGEST_LOG = 100_000


class LoggedRequest(NamedTuple):
    """`at` counts over the whole fleet, so that requests to several engines have an order. `body` None: none, or no JSON object."""

    method: str
    path: str
    body: dict[str, object] | None
    at: int


class RequestLog:
    """Every request as it arrived, also one that met a fault. The oldest go when there are too many."""

    def __init__(self, order: itertools.count[int]) -> None:
        self._order = order
        self._entries: deque[LoggedRequest] = deque(maxlen=LONGEST_LOG)

    def add(self, request: Request) -> None:
        self._entries.append(LoggedRequest(request.method, request.path, request.document(), next(self._order)))

    def entries(self) -> list[LoggedRequest]:
        return list(self._entries)

    def clear(self) -> None:
        self._entries.clear()
