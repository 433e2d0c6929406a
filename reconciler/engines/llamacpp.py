"""llama.cpp's llama-server, a router of many models or a server of one. Protocol facts: its tools/server (server-models.cpp, README)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from functools import partial
from typing import Annotated
from urllib.parse import urlencode

from msgspec import Meta
from msgspec.json import Decoder

from reconciler.engines import metrics, trial
from reconciler.engines.activity import of_llamacpp
from reconciler.engines.adapter import Adapter
from reconciler.engines.answers import MOST_MODELS, clean_name
from reconciler.engines.look import Look
from reconciler.engines.out_of_memory import is_out_of_memory
from reconciler.engines.protocol import LoadRequest, PullProgress
from reconciler.engines.shapes import Bytes, Count, Flag, Name, OrUnknown, Tokens, Word, Words, answered, read_shape
from reconciler.engines.transport import LARGE, Answer
from reconciler.engines.trial import Written
from reconciler.fleet import (
    Activity,
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

_STATUS = {
    "loaded": ResidentStatus.LOADED,
    "loading": ResidentStatus.LOADING,
    "sleeping": ResidentStatus.SLEEPING,
}
_LOADING = 503
# fmt: off
_OPTIONS = frozenset({
    "batch-size", "cache-type-k", "cache-type-v", "cont-batching", "device",
    "embeddings", "flash-attn", "kv-offload", "main-gpu", "mlock",
    "mmap", "n-cpu-moe", "n-gpu-layers", "no-kv-offload", "no-mmap",
    "override-tensor", "parallel", "pooling", "rope-freq-base", "rope-scale",
    "rope-scaling", "split-mode", "tensor-split", "threads", "ubatch-size",
})
# fmt: on
_WEIGHTS = frozenset({"model", "m", "model-url", "mu", "hf-repo", "hf", "hfr", "docker-repo", "dr"})
"""What says where the weights of a section are."""
_LONGEST_PRESET, _LONGEST_OPTION = 65536, 200
_MOST_ALIASES = 100
_MOST_WATCHED = 16
"""Residents of a router whose metrics are asked for in one look."""


@answered
class _Slot:
    n_ctx: Tokens = None


@answered
class _Props:
    role: str | None = None
    max_instances: Count = None
    build_info: Word = None
    is_sleeping: Flag = None
    total_slots: Count = None
    default_generation_settings: Annotated[_Slot | None, OrUnknown()] = None


@answered
class _Meta:
    n_ctx: Tokens = None
    size: Bytes = None


@answered
class _State:
    value: str
    failed: Flag = None
    preset: object = None


@answered
class _Model:
    id: Name
    aliases: Words = None
    status: _State | None = None
    meta: Annotated[_Meta | None, OrUnknown()] = None


@answered
class _Working:
    is_processing: bool = False


@answered
class _Models:
    data: Annotated[list[_Model], Meta(max_length=MOST_MODELS)]


_PROPS, _MODELS, _SLOTS = Decoder(_Props), Decoder(_Models), Decoder(list[_Working])


class LlamaCpp(Adapter):
    """One llama-server. What it is (router or single) is asked at every look, since a process can be replaced. See `Engine`."""

    async def observe(self, wanted: Collection[str] = ()) -> EngineFacts:
        look = Look(self._spec)
        try:
            answer = await self._channel.get("/props", within=look.left, accept=(200, _LOADING))
            if answer.status == _LOADING:
                return look.unknown(*_starting(answer))
            props = read_shape(_PROPS, answer.body, answer.url)
            models = await self._models(look.left)
        except EngineError as error:
            return look.unreachable(error)
        build = clean_name(props.build_info) if props.build_info is not None else None
        if props.role == "router":
            residents = tuple(_resident(model) for model in models if model.status is not None and model.status.value in _STATUS)
            await self._note_activity(look, residents, router=True)
            return EngineFacts(
                self._spec.id,
                EngineKind.LLAMACPP,
                True,
                build=build,
                mode="router",
                max_residents=props.max_instances or None,
                installed=tuple(_installed(model) for model in models if _has_weights(model)),
                residents=residents,
                probe_seconds=look.seconds,
            )
        residents = tuple(self._only(model, props, wanted) for model in models[:1])
        await self._note_activity(look, residents, router=False)
        return EngineFacts(
            self._spec.id,
            EngineKind.LLAMACPP,
            True,
            build=build,
            mode="single",
            installed=tuple(Installed(name, _size(model)) for model in models[:1] for name in _names(model)),
            residents=residents,
            probe_seconds=look.seconds,
        )

    async def _note_activity(self, look: Look, residents: Sequence[Resident], *, router: bool) -> None:
        """What its metrics tell of residents, where that is asked for. A server without `--metrics` answers 501; no model is woken."""
        noted = self._channel.transport.activity
        if noted is None:
            return
        for one in [one for one in residents if one.status is not ResidentStatus.LOADING][:_MOST_WATCHED]:
            query = "?" + urlencode({"model": one.shown, "autoload": "false"}) if router else ""
            found = await look.optional(partial(self._activity, f"/metrics{query}"))
            if found is None:
                return
            noted[self._spec.id, one.name] = found

    async def _activity(self, path: str, within: float) -> Activity | None:
        answer = await self._channel.ask("GET", path, within=within, limit=metrics.LARGEST)
        if answer.status != 200:
            return None
        return of_llamacpp(metrics.samples(answer.body.decode("utf-8", "replace"), "llamacpp:"))

    async def _models(self, within: float) -> list[_Model]:
        answer = await self._channel.get("/models", within=within, limit=LARGE)
        return read_shape(_MODELS, answer.body, answer.url).data

    def _only(self, model: _Model, props: _Props, wanted: Collection[str]) -> Resident:
        """The one model, by a wanted one of its names where there is."""
        names = _names(model)
        context = props.default_generation_settings.n_ctx if props.default_generation_settings is not None else None
        status = ResidentStatus.SLEEPING if props.is_sleeping else ResidentStatus.LOADED
        name = next((name for name in names if name in wanted), names[0])
        told = context or (model.meta.n_ctx if model.meta is not None else None)
        options = (f"parallel={props.total_slots}",) if props.total_slots else None
        return Resident(name, status, context=told, options=options)

    def pull(self, name: str) -> AsyncIterator[PullProgress]:
        raise self._error(f"{name} cannot be pulled: llama-server reads the files that it is given", "cannot_pull", "put the file there")

    async def derive(self, base: str, tag: str, parameters: Mapping[str, Scalar]) -> None:
        raise self._error(f"{tag} cannot be made: llama-server takes parameters from its preset", "cannot_pull", "change its preset")

    async def load(self, request: LoadRequest) -> None:
        await self._post("/models/load", request.name, "loaded", "already running")

    async def busy(self, name: str) -> bool | None:
        """By `/slots`, which a server may have been told not to answer (501), and which wakes a sleeping model up."""
        query = urlencode({"model": name, "autoload": "false"})

        async def ask(within: float) -> bool:
            answer = await self._channel.get(f"/slots?{query}", within=within, limit=LARGE)
            return any(slot.is_processing for slot in read_shape(_SLOTS, answer.body, answer.url))

        return await Look(self._spec).optional(ask)

    async def delete(self, name: str) -> None:
        raise self._error(f"{name} cannot be deleted: this engine does not manage its files", "cannot_delete", "remove its file yourself")

    async def unload(self, name: str) -> None:
        await self._post("/models/unload", name, "unloaded", "not running", "not found")

    async def vector_length(self, request: LoadRequest) -> int:
        return await trial.vector_length(self._channel, request.name)

    async def write(self, request: LoadRequest, tokens: int) -> Written:
        return await trial.write(self._channel, request.name, tokens)

    async def _post(self, path: str, name: str, what: str, *harmless: str) -> None:
        """Load and unload are answered at once and go on in the background; being so already, or unknown and so not in
        memory, is an error 400 (server-models.cpp)."""
        answer = await self._channel.ask("POST", path, within=self._spec.load_timeout, body={"model": name})
        if answer.status == 200 or (answer.status == 400 and any(text in answer.message for text in harmless)):
            return
        sentence = f"{name} cannot be {what}: {answer.message} (status {answer.status})"
        look = Look(self._spec)  # a second look that fails leaves the first answer as it is
        if answer.status == 404 and await look.optional(self._is_single, 2):
            served = await look.optional(self._served)
            if served is not None and (name in served) is (what == "loaded"):
                return
            raise self._error(f"{name} cannot be {what}: this server has one model, given at its start", "engine_fixed_model")
        if answer.status == 404 or "not found" in answer.message:
            raise self._error(sentence, "not_installed", "put the file where the router looks for models")
        if "limit reached" in answer.message:
            raise self._error(sentence, "busy", "every loaded model is busy; raise its --models-max")
        code = "out_of_memory" if is_out_of_memory(answer.message) else "load_failed" if what == "loaded" else "engine_error"
        raise self._error(sentence, code)

    async def _served(self, within: float) -> set[str]:
        """The names of a single server's model; it is there as long as its process is."""
        return {name for model in await self._models(within) for name in _names(model)}

    async def _is_single(self, within: float) -> bool:
        answer = await self._channel.get("/props", within=within, accept=(200, _LOADING))
        return answer.status == _LOADING or read_shape(_PROPS, answer.body, answer.url).role != "router"

    def _error(self, what: str, code: str, hint: str | None = None) -> EngineError:
        return EngineError(Problem(what, Place(f"{self._spec.id} at {self._channel.shown}"), hint), code)


def _starting(answer: Answer) -> tuple[str, str]:
    """A single server that still loads its model answers 503 on every path: what it holds is not known yet."""
    if "loading" in answer.message.lower():
        return f"{answer.url}: is still loading its model", "starting"
    return f"{answer.url}: answered with status {answer.status}: {answer.message}", "http_5xx"


def _names(model: _Model) -> list[str]:
    """The names by which requests find a model: its id (a path, where no alias is given) and its aliases."""
    return [clean_name(name) for name in dict.fromkeys((model.id, *(model.aliases or ())[:_MOST_ALIASES]))]


def _size(model: _Model) -> int | None:
    return model.meta.size if model.meta is not None else None


def _installed(model: _Model) -> Installed:
    return Installed(clean_name(model.id), _size(model), failed=model.status is not None and bool(model.status.failed))


def _resident(model: _Model) -> Resident:
    status = _STATUS[model.status.value] if model.status is not None else ResidentStatus.LOADED
    context = model.meta.n_ctx if model.meta is not None else None
    return Resident(clean_name(model.id), status, size_bytes=None, context=context, options=_options(model))


def _has_weights(model: _Model) -> bool:
    """Whether a router has a file of it. It lists a section of its preset that names none, too, and a load of that starts one more router
    (seen on b10760)."""
    preset = model.status.preset if model.status is not None else None
    if not isinstance(preset, str) or (model.status is not None and model.status.value in _STATUS):
        return True
    return len(preset) > _LONGEST_PRESET or any(_key(line.partition("=")[0]) in _WEIGHTS for line in preset.splitlines())


def _key(name: str) -> str:
    return name.strip().removeprefix("LLAMA_ARG_").replace("_", "-").lower()


def _options(model: _Model) -> tuple[str, ...] | None:
    """What the router started it with, of the options that change what it serves or holds. A preset may name keys and paths too, which are
    nobody's business; the context is a fact of its own."""
    preset = model.status.preset if model.status is not None else None
    if not isinstance(preset, str):
        return None
    found = set()
    for line in preset[:_LONGEST_PRESET].splitlines():
        key, separator, value = line.partition("=")
        if separator and _key(key) in _OPTIONS:
            found.add(clean_name(f"{key.strip()}={value.strip()}"[:_LONGEST_OPTION]))
    return tuple(sorted(found))
