"""What the loop tells, for any number of readers, each at its own pace and none of them in anybody's way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from reconciler.operations import clock
from reconciler.operations.event_document import event_line
from reconciler.planning.plan import Json
from reconciler.service.documents import watch_document
from reconciler.service.events import WatchEvent

MOST_WAITING = 1000
"""Events that a reader may be behind; then it is let go, and comes again."""
MOST_READERS = 100
SILENCE = 15.0
"""Seconds after which a comment is sent, so that proxies keep the stream open and a reader that is gone is noticed."""


class Full(Exception):
    """There are as many readers as may be."""


class Broadcast:
    """Takes events on the loop's own thread and gives them to its readers. `close` ends all their streams."""

    def __init__(self) -> None:
        self._readers: set[asyncio.Queue[str | None]] = set()

    def send(self, document: dict[str, Json]) -> None:
        line = event_line(document, clock.now())
        for reader in tuple(self._readers):
            try:
                reader.put_nowait(line)
            except asyncio.QueueFull:
                self._readers.discard(reader)
                _drain(reader)

    def hear(self, event: WatchEvent) -> None:
        if self._readers:
            self.send(watch_document(event))

    def close(self) -> None:
        for reader in tuple(self._readers):
            _drain(reader)
        self._readers.clear()

    def stream(self) -> AsyncIterator[str]:
        """Server-sent events from now on. Raises Full."""
        if len(self._readers) >= MOST_READERS:
            raise Full
        queue: asyncio.Queue[str | None] = asyncio.Queue(MOST_WAITING)
        self._readers.add(queue)
        return self._events(queue)

    async def _events(self, queue: asyncio.Queue[str | None]) -> AsyncIterator[str]:
        try:
            yield ": from now on\n\n"
            while True:
                try:
                    async with asyncio.timeout(SILENCE):
                        line = await queue.get()
                except TimeoutError:
                    yield ": nothing new\n\n"
                    continue
                if line is None:
                    return
                yield f"data: {line}\n"
        finally:
            self._readers.discard(queue)


def _drain(queue: asyncio.Queue[str | None]) -> None:
    """Ends a reader: what it has not read yet is dropped."""
    while not queue.empty():
        queue.get_nowait()
    queue.put_nowait(None)
