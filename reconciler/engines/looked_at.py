"""What is only looked at: a server of OpenAI's API, by its `/v1/models`, and a service that serves no models here, by its health."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping
from typing import Annotated

from msgspec import Meta
from msgspec.json import Decoder

from reconciler.engines import trial
from reconciler.engines.adapter import Adapter
from reconciler.engines.answers import MOST_MODELS, clean_name
from reconciler.engines.look import Look
from reconciler.engines.protocol import LoadRequest, PullProgress
from reconciler.engines.shapes import Name, OrUnknown, Tokens, Word, answered, read_shape
from reconciler.engines.transport import LARGE
from reconciler.engines.trial import Written
from reconciler.fleet import (
    EngineError,
    EngineFacts,
    Installed,
    Place,
    Problem,
    Resident,
    ResidentStatus,
    Scalar,
)

_THERE = {"loaded": ResidentStatus.LOADED, "ready": ResidentStatus.LOADED, "running": ResidentStatus.LOADED,
          "loading": ResidentStatus.LOADING, "starting": ResidentStatus.LOADING, "sleeping": ResidentStatus.SLEEPING}  # fmt: skip
"""What servers that say how a model stands call it; any other word is one that holds nothing."""


@answered
class _Status:
    value: Word = None


@answered
class _Card:
    id: Name
    max_model_len: Tokens = None
    context_length: Tokens = None
    state: Word = None
    status: Annotated[_Status | None, OrUnknown()] = None

    @property
    def standing(self) -> ResidentStatus | None:
        """One that says nothing of it answers for what it lists."""
        said = self.state or (self.status.value if self.status is not None else None)
        return ResidentStatus.LOADED if said is None else _THERE.get(said.lower())


@answered
class _Cards:
    data: Annotated[list[_Card], Meta(max_length=MOST_MODELS)]


_CARDS = Decoder(_Cards)


class LookedAt(Adapter):
    """A server that somebody else runs: nothing is ever loaded, unloaded, fetched or deleted there. See `Engine`."""

    def pull(self, name: str) -> AsyncIterator[PullProgress]:
        raise self._error(f"{name} cannot be pulled", "cannot_pull")

    async def derive(self, base: str, tag: str, parameters: Mapping[str, Scalar]) -> None:
        raise self._error(f"{tag} cannot be made", "cannot_pull")

    async def load(self, request: LoadRequest) -> None:
        raise self._error(f"{request.name} cannot be loaded", "engine_fixed_model")

    async def unload(self, name: str) -> None:
        raise self._error(f"{name} cannot be unloaded", "engine_fixed_model")

    async def busy(self, name: str) -> bool | None:
        return None

    async def delete(self, name: str) -> None:
        raise self._error(f"{name} cannot be deleted", "cannot_delete")

    async def vector_length(self, request: LoadRequest) -> int:
        return await trial.vector_length(self._channel, request.name)

    async def write(self, request: LoadRequest, tokens: int) -> Written:
        return await trial.write(self._channel, request.name, tokens)

    def _error(self, what: str, code: str) -> EngineError:
        where = Place(f"{self._spec.id} at {self._channel.shown}")
        return EngineError(Problem(f"{what}: gpurec only looks at an engine of kind {self._spec.kind}", where), code)


class OpenAi(LookedAt):
    """Whatever lists `/v1/models` (SGLang, TEI, LM Studio, …). Its models take no room of their own: its share of the card is declared."""

    async def observe(self, wanted: Collection[str] = ()) -> EngineFacts:
        look = Look(self._spec)
        try:
            answer = await self._channel.get("/v1/models", within=look.left, limit=LARGE)
            cards = read_shape(_CARDS, answer.body, answer.url).data
        except EngineError as error:
            return look.unreachable(error)
        there = [(card, status) for card in cards if (status := card.standing) is not None]
        return EngineFacts(
            self._spec.id,
            self._spec.kind,
            True,
            mode="single",
            installed=tuple(Installed(clean_name(card.id)) for card in cards),
            residents=tuple(
                Resident(clean_name(card.id), status, size_bytes=0, vram_bytes=0, context=card.max_model_len or card.context_length)
                for card, status in there
            ),
            probe_seconds=look.seconds,
        )


class ServiceEngine(LookedAt):
    """Another program on a card (ComfyUI, whisper, …): up where its health answers with 2xx, whatever that says."""

    async def observe(self, wanted: Collection[str] = ()) -> EngineFacts:
        look = Look(self._spec)
        try:
            await self._channel.get(self._spec.health or "/health", within=look.left, limit=LARGE, accept=range(200, 300))
        except EngineError as error:
            return look.unreachable(error)
        return EngineFacts(self._spec.id, self._spec.kind, True, mode="single", installed=(), residents=(), probe_seconds=look.seconds)
