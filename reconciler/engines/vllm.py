"""vLLM's OpenAI server: one base model a process, given at its start. Protocol facts: vllm/entrypoints/openai, seen on 0.32.0.

Looked at only. What it holds follows from its start: a share of each card whatever the model, so no size comes over HTTP.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterator, Mapping
from typing import Annotated

from msgspec import Meta
from msgspec.json import Decoder

from reconciler.engines import metrics, trial
from reconciler.engines.activity import of_vllm
from reconciler.engines.adapter import Adapter
from reconciler.engines.answers import MOST_MODELS, clean_name
from reconciler.engines.look import Look
from reconciler.engines.metrics import Sample
from reconciler.engines.protocol import LoadRequest, PullProgress
from reconciler.engines.shapes import Name, Tokens, Word, answered, read_shape
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
    Unreachable,
)

SILENT = frozenset({"refused", "timeout", "cut"})
"""How a vLLM that still loads (weights, compilation, graphs: minutes) looks from outside: like one that is down."""
_DEAD = 503
_START_OPTIONS = ("block_size", "cache_dtype", "enable_prefix_caching", "gpu_memory_utilization")
"""Labels of `vllm:cache_config_info` that come from the command line; the others follow from them and from the card."""
_LONGEST_OPTION = 200
_GAUGES = ("vllm:num_requests_running", "vllm:num_requests_waiting")


@answered
class _Card:
    id: Name
    owned_by: Word = None
    parent: Word = None
    max_model_len: Tokens = None


@answered
class _Cards:
    data: Annotated[list[_Card], Meta(max_length=MOST_MODELS)]


@answered
class _Version:
    version: str


_CARDS, _VERSION = Decoder(_Cards), Decoder(_Version)


class Vllm(Adapter):
    """One vLLM server. See `Engine`; what its start decided cannot be changed from here."""

    async def observe(self, wanted: Collection[str] = ()) -> EngineFacts:
        look = Look(self._spec)
        try:
            cards = await self._cards(look.left)
            await self._check_alive(look)
            version = await look.optional(self._version, 2)
            if version is None and not any(card.owned_by == "vllm" for card in cards):
                return look.unknown(look.notes[-1], "not_its_protocol")  # any server of OpenAI's API lists models
        except EngineError as error:
            return look.unknown(*_silence(error))
        found = await look.optional(self._metrics)
        residents = tuple(_residents(cards, found or (), wanted))
        if self._channel.transport.activity is not None and found:
            self._channel.transport.activity.update({(self._spec.id, one.name): of_vllm(found) for one in residents[:1]})
        return EngineFacts(
            self._spec.id,
            EngineKind.VLLM,
            True,
            build=version,
            mode="single",
            installed=tuple(Installed(clean_name(card.id)) for card in cards),
            residents=residents,
            probe_seconds=look.seconds,
            notes=tuple(look.notes),
        )

    async def _cards(self, within: float) -> list[_Card]:
        answer = await self._channel.get("/v1/models", within=within)
        return read_shape(_CARDS, answer.body, answer.url).data

    async def _check_alive(self, look: Look) -> None:
        """A server whose engine has died still answers the rest. Raises Unreachable where it says so; a page that is not let through says
        nothing."""
        health = await look.optional(lambda within: self._channel.get("/health", within=within, accept=(200, _DEAD)), 3)
        if health is not None and health.status == _DEAD:
            raise Unreachable(Problem("its engine has died (status 503 of /health)", Place(health.url), "restart it"), "http_5xx")

    async def _version(self, within: float) -> str:
        answer = await self._channel.get("/version", within=within)
        return clean_name(read_shape(_VERSION, answer.body, answer.url).version)

    async def _metrics(self, within: float) -> tuple[Sample, ...]:
        """Its own series; none where they are switched off."""
        answer = await self._channel.get("/metrics", within=within, limit=metrics.LARGEST, accept=(200, 404))
        return tuple(metrics.samples(answer.body.decode("utf-8", "replace"), "vllm:")) if answer.status == 200 else ()

    def pull(self, name: str) -> AsyncIterator[PullProgress]:
        raise self._error(f"{name} cannot be pulled: vLLM serves the model that it was started with", "cannot_pull")

    async def derive(self, base: str, tag: str, parameters: Mapping[str, Scalar]) -> None:
        raise self._error(f"{tag} cannot be made: vLLM takes parameters from its command line", "cannot_pull")

    async def load(self, request: LoadRequest) -> None:
        """Harmless for what it serves; anything else needs another start."""
        facts = await self._seen()
        status = next((resident.status for resident in facts.residents or () if resident.name == request.name), None)
        if status is ResidentStatus.SLEEPING:
            raise self._error(f"{request.name} sleeps", "engine_fixed_model", "wake it with POST /wake_up")
        if all(model.name != request.name for model in facts.installed or ()):
            raise self._error(f"{request.name} cannot be loaded: this server has one model, given at its start", "engine_fixed_model")

    async def busy(self, name: str) -> bool | None:
        """By its metrics, which may be switched off; of one model, so of all that it does."""
        found = await Look(self._spec).optional(self._metrics) or ()
        counts = [sample.value for sample in found if sample.name in _GAUGES]
        return any(value > 0 for value in counts) if counts else None

    async def delete(self, name: str) -> None:
        raise self._error(f"{name} cannot be deleted: this engine does not manage its files", "cannot_delete", "remove its file yourself")

    async def unload(self, name: str) -> None:
        """Harmless for what it does not serve; what it serves leaves only with its process."""
        if any(model.name == name for model in (await self._seen()).installed or ()):
            raise self._error(f"{name} cannot be unloaded: it ends with its server", "engine_fixed_model", "stop that process")

    async def vector_length(self, request: LoadRequest) -> int:
        return await trial.vector_length(self._channel, request.name)

    async def write(self, request: LoadRequest, tokens: int) -> Written:
        return await trial.write(self._channel, request.name, tokens)

    async def _seen(self) -> EngineFacts:
        facts = await self.observe()
        if not facts.reachable:
            raise Unreachable(Problem(facts.reason or "it does not answer"), facts.reason_code or "unreachable")
        return facts

    def _error(self, what: str, code: str, hint: str | None = "change its command line") -> EngineError:
        return EngineError(Problem(what, Place(f"{self._spec.id} at {self._channel.shown}"), hint), code)


def _silence(error: EngineError) -> tuple[str, str]:
    """Why it is unknown. Nobody can tell one that is down from one that still loads, so neither is claimed."""
    sentence = error.problems[0].sentence()
    if error.code not in SILENT:
        return sentence, error.code
    problem = Problem(
        f"{error.problems[0].what}: still starting (a vLLM is silent for minutes while it loads), or down", error.problems[0].where
    )
    return problem.sentence(), "starting_or_down"


def _residents(cards: Collection[_Card], found: Collection[Sample], wanted: Collection[str]) -> Iterator[Resident]:
    """The base model by one of its served names (the first that is wanted, where there is one), then its LoRA adapters (in its share)."""
    asleep = any(
        sample.name == "vllm:engine_sleep_state" and sample.value == 1.0 and sample.labels.get("sleep_state") not in (None, "awake")
        for sample in found
    )
    status = ResidentStatus.SLEEPING if asleep else ResidentStatus.LOADED
    base = [card for card in cards if card.parent is None]
    if base:
        served = {clean_name(card.id): card for card in base}
        shown = next((served[name] for name in wanted if name in served), base[0])
        yield Resident(clean_name(shown.id), status, context=shown.max_model_len, options=_options(found))
    for card in cards:
        if card.parent is not None:
            yield Resident(clean_name(card.id), status, size_bytes=0, vram_bytes=0, options=(f"parent={clean_name(card.parent)}",))


def _options(found: Collection[Sample]) -> tuple[str, ...] | None:
    """What its start decided of its cache, as far as its metrics tell."""
    for sample in found:
        if sample.name == "vllm:cache_config_info":
            labels = sample.labels
            return tuple(clean_name(f"{key}={labels[key]}"[:_LONGEST_OPTION]) for key in _START_OPTIONS if key in labels)
    return None
