"""The last net around each node and each engine: an answer that a reader of ours trips over is unknown, and ends nothing but itself."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from typing import TypeVar

from reconciler.engines.answers import clean_text, own_limit
from reconciler.engines.protocol import Engine, LoadRequest, PullProgress
from reconciler.engines.trial import Written
from reconciler.fleet import EngineError, EngineFacts, EngineSpec, GpurecError, Place, Problem, Scalar, Unreachable

Result = TypeVar("Result")
Instead = TypeVar("Instead")
_LOG = logging.getLogger(__name__)
_LONGEST = 160


def unreadable(error: Exception, where: str) -> Unreachable:
    """What is said where an answer throws what nobody foresaw, or where a limit of this machine was met. The fault is ours, so its trace is
    kept for who looks at our log."""
    limit = own_limit(error)
    if limit is not None:
        return Unreachable(Problem(limit.what, Place(where), limit.hint), "own_limit")
    _LOG.debug("an answer cannot be read", exc_info=error)
    said = clean_text(str(error))[:_LONGEST]
    what = f"gpurec cannot read its answer ({type(error).__name__}{f': {said}' if said else ''})"
    return Unreachable(Problem(what, Place(where)), "unreadable")


async def caught(asking: Awaitable[Result], where: str, instead: Callable[[EngineError], Instead]) -> Result | Instead:
    """What `asking` gives; where it throws what nobody foresaw, what `instead` makes of it."""
    try:
        return await asking
    except Exception as error:  # noqa: BLE001 (the one place where any error of a reader becomes a reason)
        return instead(error if isinstance(error, EngineError) else unreadable(error, where))


class Netted:
    """An adapter of which nothing comes out but its answers and its refusals. See `Engine`."""

    def __init__(self, inner: Engine) -> None:
        self._inner = inner

    @property
    def spec(self) -> EngineSpec:
        return self._inner.spec

    async def observe(self, wanted: Collection[str] = ()) -> EngineFacts:
        def unknown(error: EngineError) -> EngineFacts:
            return EngineFacts(self.spec.id, self.spec.kind, False, error.problems[0].sentence(), error.code)

        return await caught(self._inner.observe(wanted), str(self.spec.id), unknown)

    async def pull(self, name: str) -> AsyncIterator[PullProgress]:
        try:
            async for progress in self._inner.pull(name):
                yield progress
        except GpurecError:
            raise
        except Exception as error:
            raise unreadable(error, str(self.spec.id)) from error

    async def derive(self, base: str, tag: str, parameters: Mapping[str, Scalar]) -> None:
        await self._caught(lambda: self._inner.derive(base, tag, parameters))

    async def load(self, request: LoadRequest) -> None:
        await self._caught(lambda: self._inner.load(request))

    async def unload(self, name: str) -> None:
        await self._caught(lambda: self._inner.unload(name))

    async def busy(self, name: str) -> bool | None:
        return await self._caught(lambda: self._inner.busy(name))

    async def delete(self, name: str) -> None:
        await self._caught(lambda: self._inner.delete(name))

    async def vector_length(self, request: LoadRequest) -> int:
        return await self._caught(lambda: self._inner.vector_length(request))

    async def write(self, request: LoadRequest, tokens: int) -> Written:
        return await self._caught(lambda: self._inner.write(request, tokens))

    async def aclose(self) -> None:
        await self._inner.aclose()

    async def _caught(self, ask: Callable[[], Awaitable[Result]]) -> Result:
        try:
            return await ask()
        except GpurecError:
            raise
        except Exception as error:
            raise unreadable(error, str(self.spec.id)) from error
