"""llama-swap: one process a model behind one port, started by the first request. Protocol facts: its internal/server and README.

Which models may be loaded together is its own configuration (groups, matrix) and is not told: a load may end others. It never looks at
GPU memory, and tells none.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping
from typing import Annotated
from urllib.parse import quote

from msgspec import Meta
from msgspec.json import Decoder

from reconciler.engines import trial
from reconciler.engines.adapter import Adapter
from reconciler.engines.answers import MOST_MODELS, clean_name
from reconciler.engines.look import Look
from reconciler.engines.out_of_memory import is_out_of_memory
from reconciler.engines.protocol import LoadRequest, PullProgress
from reconciler.engines.shapes import Name, Seconds, Word, answered, read_shape
from reconciler.engines.transport import LARGE, Answer
from reconciler.engines.trial import Written
from reconciler.fleet import (
    EngineError,
    EngineFacts,
    EngineKind,
    Installed,
    Place,
    Problem,
    Resident,
    ResidentStatus,
    Scalar,
)

_STATUS = {"ready": ResidentStatus.LOADED, "starting": ResidentStatus.LOADING, "stopping": ResidentStatus.LOADING}
"""`stopping` holds its memory still and cannot be used: of our words that is `loading`. `stopped` and `shutdown` hold nothing."""


@answered
class _Version:
    version: Word = None


@answered
class _Listed:
    id: Name


@answered
class _Models:
    data: Annotated[list[_Listed], Meta(max_length=MOST_MODELS)]


@answered
class _Process:
    model: Name
    state: str
    ttl: Seconds = None


@answered
class _Running:
    running: Annotated[list[_Process], Meta(max_length=MOST_MODELS)] | None


_VERSION, _MODELS, _RUNNING = Decoder(_Version), Decoder(_Models), Decoder(_Running)


class LlamaSwap(Adapter):
    """One llama-swap. See `Engine` for what each call promises."""

    async def observe(self, wanted: Collection[str] = ()) -> EngineFacts:
        look = Look(self._spec)
        try:
            models = await self._models(look.left)
            running = await self._running(look.left)
        except EngineError as error:
            return look.unreachable(error)
        build = await look.optional(self._build)
        return EngineFacts(
            self._spec.id,
            EngineKind.LLAMASWAP,
            True,
            build=build,
            installed=tuple(Installed(clean_name(model.id)) for model in models),
            residents=tuple(_resident(process) for process in running if process.state in _STATUS),
            probe_seconds=look.seconds,
            notes=tuple(look.notes),
        )

    async def _models(self, within: float) -> list[_Listed]:
        answer = await self._channel.get("/v1/models", within=within, limit=LARGE)
        return read_shape(_MODELS, answer.body, answer.url).data

    async def _running(self, within: float) -> list[_Process]:
        answer = await self._channel.get("/running", within=within, limit=LARGE)
        return read_shape(_RUNNING, answer.body, answer.url).running or []

    async def _build(self, within: float) -> str | None:
        """Its version, where it says one: older builds have no such path."""
        answer = await self._channel.get("/api/version", within=within, accept=(200, 404))
        found = read_shape(_VERSION, answer.body, answer.url).version if answer.status == 200 else None
        return clean_name(found) if found else None

    def pull(self, name: str) -> AsyncIterator[PullProgress]:
        raise self._error(f"{name} cannot be pulled: llama-swap runs what its configuration names", "cannot_pull", "add it there")

    async def derive(self, base: str, tag: str, parameters: Mapping[str, Scalar]) -> None:
        raise self._error(f"{tag} cannot be made: llama-swap takes parameters from its configuration", "cannot_pull", "add it there")

    async def load(self, request: LoadRequest) -> None:
        """There is no call for it: the health of a model's own server is asked through llama-swap, which starts it and waits."""
        path = f"/upstream/{quote(request.name, safe='/')}/health"
        answer = await self._channel.ask("GET", path, within=self._spec.load_timeout, limit=LARGE)
        if answer.status == 200:
            return
        if answer.status == 404:
            if await self._runs(request.name):
                return  # its server has no /health of its own
            raise self._error(f"{request.name} cannot be loaded: {answer.message}", "not_installed", "add it to its configuration")
        raise self._refused(answer, request.name)

    async def _runs(self, name: str) -> bool:
        """Whether it is there; a look that fails shows nothing, and leaves the answer before it as it is."""
        running = await Look(self._spec).optional(self._running) or ()
        return any(clean_name(process.model) == name and process.state in _STATUS for process in running)

    async def busy(self, name: str) -> bool | None:
        return None

    async def delete(self, name: str) -> None:
        raise self._error(f"{name} cannot be deleted: this engine does not manage its files", "cannot_delete", "remove its file yourself")

    async def unload(self, name: str) -> None:
        path = f"/api/models/unload/{quote(name, safe='/')}"
        answer = await self._channel.ask("POST", path, within=self._spec.load_timeout)
        # 404: it knows no such model, or has no process of its own for it. Either way nothing of it is in memory here.
        if answer.status not in (200, 404):
            raise self._error(f"{name} cannot be unloaded: {answer.message} (status {answer.status})", "engine_error")

    async def vector_length(self, request: LoadRequest) -> int:
        return await trial.vector_length(self._channel, request.name)

    async def write(self, request: LoadRequest, tokens: int) -> Written:
        return await trial.write(self._channel, request.name, tokens)

    def _refused(self, answer: Answer, name: str) -> EngineError:
        code = "busy" if answer.status == 429 else "out_of_memory" if is_out_of_memory(answer.message) else "load_failed"
        return self._error(f"{name} cannot be loaded: {answer.message} (status {answer.status})", code)

    def _error(self, what: str, code: str, hint: str | None = None) -> EngineError:
        return EngineError(Problem(what, Place(f"{self._spec.id} at {self._channel.shown}"), hint), code)


def _resident(process: _Process) -> Resident:
    """A time to live is its configuration's and cannot be changed from here: an option, and no keep-alive of ours."""
    options = () if process.ttl is None else (f"ttl={process.ttl}",)
    return Resident(clean_name(process.model), _STATUS[process.state], options=options)
