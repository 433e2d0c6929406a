"""What the adapters of all kinds have in common: the engine that they stand for, and the channel to it."""

from __future__ import annotations

from reconciler.engines.transport import Transport
from reconciler.fleet import EngineSpec


class Adapter:
    """An engine behind a channel of its own. Whoever made it closes it."""

    def __init__(self, spec: EngineSpec, transport: Transport) -> None:
        self._spec = spec
        self._transport = transport
        self._channel = transport.channel(spec)

    @property
    def spec(self) -> EngineSpec:
        return self._spec

    async def aclose(self) -> None:
        await self._channel.aclose()
