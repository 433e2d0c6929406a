"""A running server under the rules, simulated or real, and the ways in which every rule looks at it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import httpx

from reconciler.engines import Engine, LoadRequest, Transport, open_engine
from reconciler.fleet import EngineError, EngineFacts, EngineSpec, ResidentStatus, Scalar

PATIENCE = 90.0
"""Seconds that a rule waits for a server to come to what it promised."""
PROMPT = 2.0
"""Seconds within which every look is answered, whatever else the server does."""

OLLAMA, ROUTER, SINGLE, VLLM, LLAMASWAP = "ollama", "router", "single", "vllm", "llamaswap"
ENGINES: Mapping[str, str] = {
    OLLAMA: "Ollama",
    ROUTER: "llama.cpp, router",
    SINGLE: "llama.cpp, single",
    VLLM: "vLLM",
    LLAMASWAP: "llama-swap",
}
Outcomes = list[BaseException | None]


@dataclass(frozen=True)
class Pulls:
    """Models of a registry: one that can be fetched, one that it does not have. `arrives` says that a cut pull is to be slow enough."""

    there: str
    absent: str


@dataclass(frozen=True)
class Subject:
    """A server as its rule's world wants it, nothing resident but what a fixed server serves.

    `installed` are the models that may be loaded; `memory` the bytes that it holds by the card's own count, where that can be seen.
    `broken` is a model whose load fails, `too_big` one that no card has room for, with options that forbid another place.
    `crowd` makes it busy and says how each load ended; `doze` puts its resident model to sleep; `begin` starts it anew without waiting.
    """

    engine: str
    spec: EngineSpec
    installed: tuple[str, ...]
    restart: Callable[[], None]
    begin: Callable[[], None] = lambda: None
    memory: Callable[[], int] | None = None
    embedding: str | None = None
    vector_length: int = 0
    broken: str | None = None
    too_big: tuple[str, Mapping[str, Scalar]] | None = None
    crowd: Callable[[Subject, Engine], Awaitable[Outcomes]] | None = None
    doze: Callable[[Subject], Awaitable[None]] | None = None
    pulls: Pulls | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def first(self) -> str:
        return self.installed[0]

    @property
    def second(self) -> str:
        return self.installed[1]

    @property
    def fixed(self) -> bool:
        """Whether its one model comes and goes with its process."""
        return self.engine in (SINGLE, VLLM)

    @property
    def at_rest(self) -> set[str]:
        """What is resident when nobody has asked for anything."""
        return {self.first} if self.fixed else set()

    def through(self, url: str, **changes: float) -> Subject:
        """The same server by another way, with other patience."""
        return replace(self, spec=replace(self.spec, url=url, **changes))

    async def use(self, name: str, tokens: int = 1) -> int:
        """The status of one request to a model, through the API that all engines share."""
        body = {"model": name, "messages": [{"role": "user", "content": "Count from one to a thousand."}], "max_tokens": tokens}
        async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE, headers=dict(self.headers)) as client:
            return (await client.post(f"{self.spec.url}/v1/chat/completions", json=body)).status_code


@asynccontextmanager
async def opened(spec: EngineSpec, environ: Mapping[str, str] | None = None) -> AsyncIterator[Engine]:
    async with Transport(environ=environ) as transport:
        engine = open_engine(spec, transport)
        yield engine
        await engine.aclose()


async def until(engine: Engine, holds: Callable[[EngineFacts], bool], what: str) -> EngineFacts:
    """Looks until `holds`, at most PATIENCE seconds."""
    try:
        async with asyncio.timeout(PATIENCE):
            while True:
                facts = await engine.observe()
                if facts.reachable and holds(facts):
                    return facts
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(f"never: {what}; last seen: {facts}") from None


async def until_busy(engine: Engine, name: str) -> None:
    """Looks until a model answers a request, at most PATIENCE seconds."""
    try:
        async with asyncio.timeout(PATIENCE):
            while not await engine.busy(name):  # noqa: ASYNC110 (a server's own doing, of which nobody tells us)
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(f"never: {name} is busy") from None


async def eventually(holds: Callable[[], bool], what: str) -> None:
    try:
        async with asyncio.timeout(PATIENCE):
            while not holds():  # noqa: ASYNC110 (a server's own doing, of which nobody tells us)
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(f"never: {what}") from None


def loaded(facts: EngineFacts) -> set[str]:
    return {resident.name for resident in facts.residents or () if resident.status is ResidentStatus.LOADED}


def occupied(facts: EngineFacts) -> set[str]:
    return {resident.name for resident in facts.residents or ()}


def settled(facts: EngineFacts) -> bool:
    """No load is under way."""
    return facts.residents is not None and loaded(facts) == occupied(facts)


async def make_resident(engine: Engine, name: str, **more: object) -> EngineFacts:
    await engine.load(replace(LoadRequest(name, keep_alive=-1), **more))
    return await until(engine, lambda facts: name in loaded(facts), f"{name} becomes resident")


async def outcome_of(engine: Engine, request: LoadRequest) -> EngineError | None:
    """How a load ended, however the engine tells that: an error of the call, or (llama.cpp's router) a mark in its list."""
    try:
        await engine.load(request)
    except EngineError as error:
        return error
    name = request.name
    facts = await until(engine, lambda facts: name in loaded(facts) or name not in occupied(facts), f"the load of {name} ends")
    failed = any(model.failed for model in facts.installed or () if model.name == name)
    return EngineError.of(f"{name} failed") if failed else None  # type: ignore[return-value]  # `of` makes an instance of its class
