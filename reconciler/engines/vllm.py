"""vLLM's OpenAI server: one base model a process, given at its start. Protocol facts: vllm/entrypoints/openai, seen on 0.32.0.

Looked at only. What it holds follows from its start: a share of each card whatever the model, so no size comes over HTTP.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Collection, Iterator, Mapping

from pydantic import TypeAdapter

from reconciler.engines import trial
from reconciler.engines.answers import Answered, Name, clean_name, read_shape
from reconciler.engines.protocol import LoadRequest, PullProgress
from reconciler.engines.transport import LARGE, Transport
from reconciler.fleet import (
    EngineError,
    EngineFacts,
    EngineKind,
    EngineSpec,
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
_SERIES = re.compile(r"^(vllm:[a-z_]+)\{([^}]*)\}\s+([0-9.eE+-]+)\s*$")
_LABEL = re.compile(r'([a-z_]+)="((?:[^"\\]|\\.)*)"')
_START_OPTIONS = ("block_size", "cache_dtype", "enable_prefix_caching", "gpu_memory_utilization")
"""Labels of `vllm:cache_config_info` that come from the command line; the others follow from them and from the card."""
_LONGEST_OPTION = 200


class _Card(Answered):
    id: Name
    parent: str | None = None
    max_model_len: int | None = None


class _Cards(Answered):
    data: list[_Card]


class _Version(Answered):
    version: str


_CARDS, _VERSION = TypeAdapter(_Cards), TypeAdapter(_Version)


class Vllm:
    """One vLLM server. See `Engine`; what its start decided cannot be changed from here."""

    def __init__(self, spec: EngineSpec, transport: Transport) -> None:
        self._spec = spec
        self._channel = transport.channel(spec)

    @property
    def spec(self) -> EngineSpec:
        return self._spec

    async def aclose(self) -> None:
        await self._channel.aclose()

    async def observe(self, wanted: Collection[str] = ()) -> EngineFacts:
        loop = asyncio.get_running_loop()
        start = loop.time()
        end = start + self._spec.timeout
        try:
            version = await self._version(end - loop.time())
            cards = await self._cards(end - loop.time())
            metrics = await self._metrics(end - loop.time())
        except EngineError as error:
            reason, code = _silence(error)
            return EngineFacts(self._spec.id, EngineKind.VLLM, False, reason, code, probe_seconds=loop.time() - start)
        return EngineFacts(
            self._spec.id,
            EngineKind.VLLM,
            True,
            build=version,
            mode="single",
            installed=tuple(Installed(clean_name(card.id)) for card in cards),
            residents=tuple(_residents(cards, metrics, wanted)),
            probe_seconds=loop.time() - start,
        )

    async def _version(self, within: float) -> str:
        """/health first: a server whose engine has died still answers the rest."""
        health = await self._channel.get("/health", within=within, accept=(200, _DEAD))
        if health.status == _DEAD:
            raise Unreachable(Problem("its engine has died (status 503 of /health)", Place(health.url), "restart it"), "http_5xx")
        answer = await self._channel.get("/version", within=within)
        return clean_name(read_shape(_VERSION, answer.body, answer.url).version)

    async def _cards(self, within: float) -> list[_Card]:
        answer = await self._channel.get("/v1/models", within=within)
        return read_shape(_CARDS, answer.body, answer.url).data

    async def _metrics(self, within: float) -> Mapping[str, list[tuple[Mapping[str, str], float]]]:
        """Series by name; empty where they are switched off."""
        answer = await self._channel.ask("GET", "/metrics", within=within, limit=LARGE)
        return read_series(answer.body.decode("utf-8", "replace")) if answer.status == 200 else {}

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
        series = await self._metrics(self._spec.timeout)
        counts = [value for gauge in ("vllm:num_requests_running", "vllm:num_requests_waiting") for _, value in series.get(gauge, ())]
        return any(value > 0 for value in counts) if counts else None

    async def delete(self, name: str) -> None:
        raise self._error(f"{name} cannot be deleted: this engine does not manage its files", "cannot_delete", "remove its file yourself")

    async def unload(self, name: str) -> None:
        """Harmless for what it does not serve; what it serves leaves only with its process."""
        if any(model.name == name for model in (await self._seen()).installed or ()):
            raise self._error(f"{name} cannot be unloaded: it ends with its server", "engine_fixed_model", "stop that process")

    async def vector_length(self, request: LoadRequest) -> int:
        return await trial.vector_length(self._channel, request.name)

    async def tokens_per_second(self, request: LoadRequest) -> float:
        return await trial.tokens_per_second(self._channel, request.name)

    async def _seen(self) -> EngineFacts:
        facts = await self.observe()
        if not facts.reachable:
            raise Unreachable(Problem(facts.reason or "it does not answer"), facts.reason_code or "unreachable")
        return facts

    def _error(self, what: str, code: str, hint: str | None = "change its command line") -> EngineError:
        return EngineError(Problem(what, Place(f"{self._spec.id} at {self._channel.shown}"), hint), code)


def read_series(text: str) -> dict[str, list[tuple[Mapping[str, str], float]]]:
    """Labels and value of each of vLLM's series in Prometheus' text form 0.0.4; whole names, what cannot be read is left out."""
    found: dict[str, list[tuple[Mapping[str, str], float]]] = {}
    for line in text.splitlines():
        match = _SERIES.match(line)
        if match is None:
            continue
        try:
            value = float(match[3])
        except ValueError:
            continue
        found.setdefault(match[1], []).append((dict(_LABEL.findall(match[2])), value))
    return found


def _silence(error: EngineError) -> tuple[str, str]:
    """Why it is unknown. Nobody can tell one that is down from one that still loads, so neither is claimed."""
    sentence = error.problems[0].sentence()
    if error.code not in SILENT:
        return sentence, error.code
    problem = Problem(
        f"{error.problems[0].what}: still starting (a vLLM is silent for minutes while it loads), or down", error.problems[0].where
    )
    return problem.sentence(), "starting_or_down"


def _residents(
    cards: Collection[_Card], metrics: Mapping[str, list[tuple[Mapping[str, str], float]]], wanted: Collection[str]
) -> Iterator[Resident]:
    """The base model by one of its served names (the first that is wanted, where there is one), then its LoRA adapters (in its share)."""
    asleep = any(
        value == 1.0 and labels.get("sleep_state") not in (None, "awake") for labels, value in metrics.get("vllm:engine_sleep_state", ())
    )
    status = ResidentStatus.SLEEPING if asleep else ResidentStatus.LOADED
    base = [card for card in cards if card.parent is None]
    if base:
        served = {clean_name(card.id): card for card in base}
        shown = next((served[name] for name in wanted if name in served), base[0])
        yield Resident(clean_name(shown.id), status, context=shown.max_model_len or None, options=_options(metrics))
    for card in cards:
        if card.parent is not None:
            yield Resident(clean_name(card.id), status, size_bytes=0, vram_bytes=0, options=(f"parent={clean_name(card.parent)}",))


def _options(metrics: Mapping[str, list[tuple[Mapping[str, str], float]]]) -> tuple[str, ...] | None:
    """What its start decided of its cache, as far as its metrics tell."""
    for labels, _ in metrics.get("vllm:cache_config_info", ()):
        return tuple(clean_name(f"{key}={labels[key]}"[:_LONGEST_OPTION]) for key in _START_OPTIONS if key in labels)
    return None
