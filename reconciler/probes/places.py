"""How many are asked at the same time: bounded by the work that this machine has with them, and by its descriptors, not by waiting."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from reconciler.engines.limits import open_files

Found = TypeVar("Found")

PATIENCE = 0.25
"""Seconds after which one that still waits gives its place to the next. Live engines answer in milliseconds."""
_BEHIND = 0.1
"""Where this machine is so many seconds late, it is busy and not the other side: then nobody gives a place away."""
MOST_WAITING = 4096
"""Connections that are open at the same time."""


class ProbePlaces:
    """So many of a kind are asked `at_once`. What has waited for long keeps its descriptors and gives its place away, so that dead ones
    cost one deadline together and not one after the other; `most` of them at the same time, at work or waiting, and no more than half of
    the files that this process may hold. One object a run."""

    def __init__(self, at_once: int, *, most: int = MOST_WAITING) -> None:
        self._work = asyncio.Semaphore(at_once)
        self._all = asyncio.Semaphore(max(at_once, min(most, open_files() // 2)))

    async def ask(self, asking: Coroutine[Any, Any, Found]) -> Found:
        """What `asking` comes to, begun once there is a place for it. Cancelled, it cancels that too and waits for its end."""
        try:
            await self._all.acquire()
        except BaseException:
            asking.close()
            raise
        try:
            return await self._placed(asking)
        finally:
            self._all.release()

    async def _placed(self, asking: Coroutine[Any, Any, Found]) -> Found:
        loop = asyncio.get_running_loop()
        try:
            await self._work.acquire()
        except BaseException:
            asking.close()
            raise
        task = asyncio.ensure_future(asking)
        try:
            late = _BEHIND
            while not task.done() and late >= _BEHIND:
                start = loop.time()
                await asyncio.wait({task}, timeout=PATIENCE)
                late = loop.time() - start - PATIENCE
        except BaseException:
            await _end(task)
            raise
        finally:
            self._work.release()
        try:
            return await task
        finally:
            await _end(task)


async def _end(task: asyncio.Task[Any]) -> None:
    task.cancel()
    await asyncio.wait({task})
