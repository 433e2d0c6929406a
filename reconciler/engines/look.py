"""One look at an engine: what must be known to know it, and what may stay unknown."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from reconciler.engines.last_net import caught
from reconciler.fleet import EngineError, EngineFacts, EngineSpec, Problem

Found = TypeVar("Found")


class Look:
    """The time of one look, which all its questions share, and what became of those that are not needed."""

    def __init__(self, spec: EngineSpec) -> None:
        self._spec = spec
        self._clock = asyncio.get_running_loop().time
        self._start = self._clock()
        self._end = self._start + spec.timeout
        self.notes: list[str] = []
        """One sentence for each question that was asked in vain."""

    @property
    def left(self) -> float:
        """Seconds that are left of the engine's timeout."""
        return self._end - self._clock()

    @property
    def seconds(self) -> float:
        """Seconds since the look began."""
        return self._clock() - self._start

    async def optional(self, ask: Callable[[float], Awaitable[Found]], still: int = 1) -> Found | None:
        """What `ask` finds within its share of the time, which it is given: one of `still` questions that are left. None where it fails in
        whatever way: then that is unknown, and the others have their time still."""

        def unknown(error: EngineError) -> None:
            problem = error.problems[0]
            self.notes.append(Problem(problem.what, problem.where).sentence())  # its advice would be about the engine

        return await caught(ask(self.left / still), str(self._spec.id), unknown)

    def unreachable(self, error: EngineError) -> EngineFacts:
        """The facts of an engine of which something needed could not be had."""
        return self.unknown(error.problems[0].sentence(), error.code)

    def unknown(self, reason: str, code: str) -> EngineFacts:
        return EngineFacts(self._spec.id, self._spec.kind, False, reason, code, probe_seconds=self.seconds)
