"""An engine that is sent something only while its run holds the state: another run may have taken over since the step began."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Mapping
from typing import TYPE_CHECKING

from reconciler.engines.protocol import Engine, LoadRequest, PullProgress
from reconciler.fleet import EngineFacts, EngineSpec, Scalar
from reconciler.value_class import value_class

if TYPE_CHECKING:
    from reconciler.engines.trial import Written


@value_class
class LeasedEngine:
    """`engine`, which it asks anything at any time, and has do something only after `prove` did not raise."""

    engine: Engine
    prove: Callable[[], None]

    @property
    def spec(self) -> EngineSpec:
        return self.engine.spec

    async def observe(self, wanted: Collection[str] = ()) -> EngineFacts:
        return await self.engine.observe(wanted)

    async def busy(self, name: str) -> bool | None:
        return await self.engine.busy(name)

    def pull(self, name: str) -> AsyncIterator[PullProgress]:
        self.prove()
        return self.engine.pull(name)

    async def derive(self, base: str, tag: str, parameters: Mapping[str, Scalar]) -> None:
        self.prove()
        await self.engine.derive(base, tag, parameters)

    async def load(self, request: LoadRequest) -> None:
        self.prove()
        await self.engine.load(request)

    async def unload(self, name: str) -> None:
        self.prove()
        await self.engine.unload(name)

    async def delete(self, name: str) -> None:
        self.prove()
        await self.engine.delete(name)

    async def vector_length(self, request: LoadRequest) -> int:
        self.prove()
        return await self.engine.vector_length(request)

    async def write(self, request: LoadRequest, tokens: int) -> Written:
        self.prove()
        return await self.engine.write(request, tokens)

    async def aclose(self) -> None:
        await self.engine.aclose()
