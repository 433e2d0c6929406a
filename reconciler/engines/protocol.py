"""What every engine can be asked. One adapter a kind; each call is one conversation with one server, bounded in time and size."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping
from dataclasses import field
from typing import TYPE_CHECKING, Protocol

from reconciler.fleet import EngineFacts, EngineSpec, Scalar
from reconciler.value_class import value_class

if TYPE_CHECKING:
    from reconciler.engines.trial import Written


@value_class
class LoadRequest:
    """What to make resident. `keep_alive` in seconds, -1 for ever, None for the engine's default; `options` in the engine's own words
    (Ollama: `num_ctx`, `num_gpu`, …); `embedding` None means "ask the engine"."""

    name: str
    keep_alive: float | None = None
    options: Mapping[str, Scalar] = field(default_factory=dict)
    embedding: bool | None = None


@value_class
class PullProgress:
    """How far a pull is. Bytes over all layers seen so far; None when the engine does not say."""

    status: str
    completed: int | None = None
    total: int | None = None


class Engine(Protocol):
    """A model server. Methods raise `EngineError` (it answered, and said no) or `Unreachable` (it could not be asked)."""

    @property
    def spec(self) -> EngineSpec: ...

    async def observe(self, wanted: Collection[str] = ()) -> EngineFacts:
        """Facts about the server; `wanted` are canonical names about which details (blob, embedding) are looked up when installed.

        Never raises for a server that is down or talks nonsense: that is `reachable=False` with the reason. Never loads, evicts, or delays.
        """
        ...

    def pull(self, name: str) -> AsyncIterator[PullProgress]:
        """Fetches a model from its registry; ends when it is installed, raises when it failed (also inside a 200 stream)."""
        ...

    async def derive(self, base: str, tag: str, parameters: Mapping[str, Scalar]) -> None:
        """Makes `tag` from the installed `base` with baked parameters, without copying weights."""
        ...

    async def load(self, request: LoadRequest) -> None:
        """Asks for a model to be made resident. Returns when the server said yes; only `observe` tells when it is there.

        Takes as long as the server needs, up to the engine's `load_timeout`.
        """
        ...

    async def unload(self, name: str) -> None:
        """Asks for a model to leave memory. Idempotent; never deletes. Only `observe` tells when it is gone."""
        ...

    async def busy(self, name: str) -> bool | None:
        """Whether requests are being answered by a resident model right now; None where the engine does not tell. Wakes nothing up when
        the model is loaded and awake, which the caller has seen. Raises Unreachable."""
        ...

    async def delete(self, name: str) -> None:
        """Deletes a model from the engine's disk. Idempotent; does not unload it. Raises EngineError `cannot_delete` where it cannot."""
        ...

    async def vector_length(self, request: LoadRequest) -> int:
        """The length of the vector that a loaded model makes of a short text. With the options of its load, so that it is not reloaded."""
        ...

    async def write(self, request: LoadRequest, tokens: int) -> Written:
        """Has a loaded model write so many tokens at most, and says how long that took. With the options of its load, so that it is not
        reloaded."""
        ...

    async def aclose(self) -> None: ...
