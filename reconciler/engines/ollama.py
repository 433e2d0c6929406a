"""Ollama over its HTTP API. Protocol facts: Ollama's server/routes.go, server/sched.go, server/images.go and api/types.go."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from typing import Annotated

from msgspec import Meta
from msgspec.json import Decoder

from reconciler.engines import trial
from reconciler.engines.adapter import Adapter
from reconciler.engines.answers import MOST_MODELS, clean_name, clean_text
from reconciler.engines.look import Look
from reconciler.engines.ollama_show import remote_of, weights_of
from reconciler.engines.out_of_memory import is_out_of_memory
from reconciler.engines.protocol import LoadRequest, PullProgress
from reconciler.engines.pulling import PullMeter
from reconciler.engines.shapes import Bytes, Count, Name, OrUnknown, Tokens, Word, Words, answered, read_shape
from reconciler.engines.transport import LARGE, Answer, ManifestWeights, Transport
from reconciler.engines.trial import Written
from reconciler.fleet import (
    MIB,
    EngineError,
    EngineFacts,
    EngineKind,
    EngineSpec,
    Installed,
    Place,
    Problem,
    Resident,
    Scalar,
    canonical_name,
    spelled_name,
)

_LARGEST_LIST = 16 * MIB
PINNED_AFTER = timedelta(days=3650)
"""`keep_alive: -1` is the longest Go duration, about 292 years (api/types.go); anything beyond ten years is taken for it."""
_LOOPBACK_REGISTRY = re.compile(r"(127\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}|localhost|\[::1\])(:[0-9]{1,5})?/")
_LONGEST_TIME = 64


@answered
class _Version:
    version: str


@answered
class _Tag:
    name: Name
    size: Bytes = None
    digest: Word = None
    capabilities: Words = None
    remote_host: Word = None
    remote_model: Word = None


@answered
class _Tags:
    models: Annotated[list[_Tag], Meta(max_length=MOST_MODELS)] | None


@answered
class _Running:
    name: Name
    size: Bytes = None
    size_vram: Bytes = None
    digest: Word = None
    expires_at: Word = None
    context_length: Tokens = None


@answered
class _Ps:
    models: Annotated[list[_Running], Meta(max_length=MOST_MODELS)] | None


@answered
class _Line:
    status: Word = None
    digest: Word = None
    total: Bytes = None
    completed: Bytes = None
    error: Word = None


@answered
class _Embedded:
    embeddings: Annotated[list[list[float | None]], Meta(min_length=1)]


@answered
class _Generated:
    eval_count: Count = None
    eval_duration: Annotated[Annotated[int, Meta(gt=0, le=10**15)] | None, OrUnknown()] = None
    """Nanoseconds."""


_EMBEDDED, _GENERATED = Decoder(_Embedded), Decoder(_Generated)
_VERSION, _TAGS, _PS = Decoder(_Version), Decoder(_Tags), Decoder(_Ps)
_LINE = Decoder(_Line)


class Ollama(Adapter):
    """One Ollama server. See `Engine` for what each call promises."""

    def __init__(self, spec: EngineSpec, transport: Transport) -> None:
        super().__init__(spec, transport)
        self._listed: dict[str, str] = {}
        """Names as the server lists them, by their canonical form: it heeds case where its disk does."""

    async def observe(self, wanted: Collection[str] = ()) -> EngineFacts:
        look = Look(self._spec)
        try:
            tags = await self._tags(look.left)
            running = await self._running(look.left)
        except EngineError as error:
            return look.unreachable(error)
        self._listed = {_canonical(name): name for name in (*(tag.name for tag in tags), *(model.name for model in running))}
        version = await look.optional(self._version, 2)
        weights = await self._weights(tags, running, wanted, look)
        sizes = {(tag.name, tag.size) for tag in tags}
        return EngineFacts(
            self._spec.id,
            EngineKind.OLLAMA,
            True,
            build=version,
            installed=tuple(_installed(tag, weights) for tag in tags),
            residents=tuple(self._resident(model, weights, sizes) for model in running),
            probe_seconds=look.seconds,
            notes=tuple(look.notes),
        )

    # One after the other, so that they share one connection: over a large fleet a connection costs more than a turn.
    async def _tags(self, within: float) -> list[_Tag]:
        answer = await self._channel.get("/api/tags", within=within, limit=_LARGEST_LIST)
        return read_shape(_TAGS, answer.body, answer.url).models or []

    async def _running(self, within: float) -> list[_Running]:
        answer = await self._channel.get("/api/ps", within=within, limit=_LARGEST_LIST)
        return read_shape(_PS, answer.body, answer.url).models or []

    async def _version(self, within: float) -> str:
        answer = await self._channel.get("/api/version", within=within)
        return clean_name(read_shape(_VERSION, answer.body, answer.url).version)

    async def _weights(
        self, tags: Collection[_Tag], running: Collection[_Running], wanted: Collection[str], look: Look
    ) -> Mapping[str, ManifestWeights]:
        """Details by manifest digest, asked once a digest for the whole fleet: a manifest names its layers, so a digest says it all. What
        cannot be had of one model is unknown of that one."""
        names = {canonical_name(EngineKind.OLLAMA, name) for name in wanted} | {_canonical(model.name) for model in running}
        known = self._transport.weights
        unknown = {
            tag.digest: tag
            for tag in tags
            if tag.digest is not None and tag.digest not in known and not _remote(tag) and _canonical(tag.name) in names
        }
        for still, (digest, tag) in zip(range(len(unknown), 0, -1), unknown.items(), strict=True):
            found = await look.optional(partial(self._show, tag.name, size=tag.size), still)
            if found is not None:
                known[digest] = found
            if look.left <= 0:
                break
        return known

    async def _show(self, name: str, within: float, *, size: int | None = None) -> ManifestWeights | None:
        """Details of one installed model; None when it went away meanwhile. Its header is asked for once for the whole fleet, with
        `verbose` only where the short answer leaves out arrays that it needs; one that cannot be had is unknown, not a failure."""
        loop = asyncio.get_running_loop()
        end = loop.time() + within
        name = self._as_listed(name)
        answer = await self._channel.look_up("/api/show", {"model": name}, within=within, limit=LARGE)
        if answer.status == 404:
            return None
        if answer.status != 200:
            raise self._refused(answer, f"cannot show {clean_name(name)}")
        headers = self._transport.headers
        found, more = weights_of(answer, size, headers)
        if more:
            with suppress(EngineError):
                body: dict[str, object] = {"model": name, "verbose": True}
                answer = await self._channel.look_up("/api/show", body, within=end - loop.time(), limit=LARGE)
                if answer.status == 200:
                    found, _ = weights_of(answer, size, headers)
        if found.blob is not None and found.header is not None:
            headers.setdefault(found.blob, found.header)
        return found

    def _resident(self, model: _Running, weights: Mapping[str, ManifestWeights], sizes: Collection[tuple[str, int | None]]) -> Resident:
        size, vram = model.size, model.size_vram
        if not size:
            # A CPU-only server reports 0 for both (seen on 0.34.0): it says nothing, not "takes nothing".
            size = vram = None
        elif self._spec.gpus == () and vram == size and (model.name, size) in sizes:
            # llm/llama_server.go falls back to the file size for both figures when it cannot read llama-server's log.
            size = vram = None
        elif vram is not None and vram > size:
            # A share above the whole contradicts itself: neither figure can be told to be the true one.
            size = vram = None
        details = weights.get(model.digest or "")
        left = _left(model.expires_at, self._transport.clock())
        return Resident(
            name=_canonical(model.name),
            size_bytes=size,
            vram_bytes=vram,
            context=model.context_length,
            pinned=None if left is None else left > PINNED_AFTER,
            expires_in=None if left is None else left.total_seconds(),
            blob=details.blob if details is not None else None,
            label=_label(model.name),
            digest=clean_name(model.digest) if model.digest is not None else None,
        )

    async def pull(self, name: str) -> AsyncIterator[PullProgress]:
        body: dict[str, object] = {"model": name, "stream": True}
        if _LOOPBACK_REGISTRY.match(name):
            body["insecure"] = True
        meter = PullMeter()
        async for line in self._stream("/api/pull", body, "pull_failed", f"{name} cannot be pulled", meter):
            if meter.is_news(line.status):
                yield PullProgress(clean_text(line.status or ""), meter.completed, meter.total)

    async def derive(self, base: str, tag: str, parameters: Mapping[str, Scalar]) -> None:
        body = {"model": tag, "from": self._as_listed(base), "parameters": dict(parameters), "stream": True}
        async for _ in self._stream("/api/create", body, "create_failed", f"{tag} cannot be made from {base}", PullMeter()):
            pass

    async def _stream(self, path: str, body: Mapping[str, object], code: str, what: str, meter: PullMeter) -> AsyncIterator[_Line]:
        """The lines of a stream that must end with success: an error comes as a line under status 200 (server/images.go PullModel)."""
        last: _Line | None = None

        def goes_on(raw: bytes) -> float:
            nonlocal last
            last = read_shape(_LINE, raw, self._channel.shown + path)
            try:
                return meter.take(last.status, last.digest, last.completed, last.total)
            except OverflowError as error:
                raise self._error(f"{what}: {error}", code) from None

        async for part in self._channel.lines(path, body, goes_on):
            if isinstance(part, Answer):
                raise self._refused(part, what, "not_installed" if part.status == 404 and code == "create_failed" else code)
            assert last is not None
            if last.error is not None:
                raise self._error(f"{what}: {clean_text(last.error)}", code)
            yield last
        if last is None or last.status != "success":
            raise self._error(f"{what}: its stream ended without success", code)

    async def load(self, request: LoadRequest) -> None:
        name = request.name
        embedding = request.embedding if request.embedding is not None else await self._embeds(name)
        body: dict[str, object] = {"model": self._as_listed(name)}
        if request.keep_alive is not None:
            body["keep_alive"] = -1 if request.keep_alive < 0 else request.keep_alive
        if request.options:
            body["options"] = dict(request.options)
        if not embedding:
            body["stream"] = False
        path = "/api/embed" if embedding else "/api/generate"
        answer = await self._channel.ask("POST", path, within=self._spec.load_timeout, body=body, limit=LARGE)
        if answer.status != 200:
            raise self._refused(answer, f"{name} cannot be loaded")

    async def _embeds(self, name: str) -> bool:
        """Whether a model only embeds, by its capabilities and never by its name."""
        found = await self._show(name, self._spec.timeout)
        if found is None:
            raise self._error(f"{name} is not installed", "not_installed", "pull it first")
        if found.remote is not None:
            raise self._error(f"{name} is a cloud model: {found.remote} runs it, so it cannot be kept loaded here", "runs_elsewhere")
        return bool(found.embedding)

    async def vector_length(self, request: LoadRequest) -> int:
        answer = await self._tried("/api/embed", request, {"input": trial.TEXT}, {})
        return trial.sound_length(read_shape(_EMBEDDED, answer.body, answer.url).embeddings[0], answer.url)

    async def write(self, request: LoadRequest, tokens: int) -> Written:
        """By Ollama's own clock (`eval_count` tokens in `eval_duration` nanoseconds, api/types.go Metrics): without load and prompt."""
        clock = asyncio.get_running_loop().time
        start = clock()
        answer = await self._tried("/api/generate", request, {"prompt": trial.TEXT, "stream": False}, {"num_predict": tokens})
        seconds, found = clock() - start, read_shape(_GENERATED, answer.body, answer.url)
        return Written(found.eval_count, seconds, answer.url, writing=(found.eval_duration or 0) / 1e9)

    async def _tried(self, path: str, request: LoadRequest, body: Mapping[str, object], options: Mapping[str, Scalar]) -> Answer:
        whole = {"model": self._as_listed(request.name), "options": {**request.options, **options}, **body}
        answer = await self._channel.ask("POST", path, within=self._spec.load_timeout, body=whole, limit=LARGE)
        if answer.status != 200:
            raise self._refused(answer, f"{request.name} does not answer {path}", "trial_failed")
        return answer

    async def unload(self, name: str) -> None:
        # keep_alive 0 on /api/generate is answered before capabilities are looked at, so it serves embedding models too (GenerateHandler).
        body = {"model": self._as_listed(name), "keep_alive": 0, "stream": False}
        answer = await self._channel.ask("POST", "/api/generate", within=self._spec.load_timeout, body=body)
        if answer.status not in (200, 404):
            raise self._refused(answer, f"{name} cannot be unloaded")
        # GenerateHandler reads the manifest before it looks at keep_alive: what was deleted while it runs stays.
        running = await Look(self._spec).optional(self._running) if answer.status == 404 else None
        if any(_canonical(one.name) == _canonical(name) for one in running or ()):
            what = f"{name} cannot be unloaded: it runs, and is gone from the disk of its engine, which unloads only what it has there"
            raise self._error(what, "not_installed", "pull it again, or restart the engine")

    async def busy(self, name: str) -> bool | None:
        return None

    async def delete(self, name: str) -> None:
        # Layers that other names use stay; a runner of the model goes on (DeleteHandler).
        answer = await self._channel.ask("DELETE", "/api/delete", within=self._spec.load_timeout, body={"model": self._as_listed(name)})
        if answer.status not in (200, 404):
            raise self._refused(answer, f"{name} cannot be deleted", "delete_failed")

    def _as_listed(self, name: str) -> str:
        return self._listed.get(name, name)

    def _refused(self, answer: Answer, what: str, code: str | None = None) -> EngineError:
        if code is None:
            code = {404: "not_installed", 400: "refused_by_engine", 503: "busy"}.get(answer.status, "load_failed")
            if answer.status == 500 and is_out_of_memory(answer.message):
                code = "out_of_memory"
        return self._error(f"{what}: {answer.message} (status {answer.status})", code)

    def _error(self, what: str, code: str, hint: str | None = None) -> EngineError:
        return EngineError(Problem(what, Place(f"{self._spec.id} at {self._channel.shown}"), hint), code)


def _label(name: str) -> str | None:
    """A name as the server spells it, where that is not its canonical form."""
    spelled = spelled_name(EngineKind.OLLAMA, clean_name(name))
    return spelled if spelled != spelled.lower() else None


def _canonical(name: str) -> str:
    return canonical_name(EngineKind.OLLAMA, clean_name(name))


def _remote(tag: _Tag) -> str | None:
    return remote_of(tag.remote_host, tag.remote_model)


def _installed(tag: _Tag, weights: Mapping[str, ManifestWeights]) -> Installed:
    details = weights.get(tag.digest or "")
    embedding = details.embedding if details is not None else None
    if embedding is None and tag.capabilities is not None:
        embedding = "embedding" in tag.capabilities and "completion" not in tag.capabilities
    remote = _remote(tag) or (details.remote if details is not None else None)
    return Installed(
        _canonical(tag.name),
        tag.size if remote is None else None,  # that of a stub, which says nothing of the model
        clean_name(tag.digest) if tag.digest is not None else None,
        details.blob if details is not None else None,
        embedding,
        context=details.num_ctx if details is not None else None,
        beside_bytes=details.beside if details is not None else 0,
        header=details.header if details is not None else None,
        remote=remote,
    )


def _left(expires_at: str | None, now: datetime) -> timedelta | None:
    """How long a model has still to live; None when the server does not say, or not in a way that can be read."""
    if not expires_at:
        return None
    text = re.sub(r"(\.[0-9]{6})[0-9]{1,3}", r"\1", expires_at[:_LONGEST_TIME])
    try:
        when = datetime.fromisoformat(text)
        return when - now if when.tzinfo is not None else None
    except (ValueError, OverflowError):
        return None
