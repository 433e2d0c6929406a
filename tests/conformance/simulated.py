"""The simulated engines as subjects: one small fleet a rule, with the world that the rule wants."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
from rules import Rule
from subject import LLAMASWAP, OLLAMA, ROUTER, SINGLE, VLLM, Outcomes, Pulls, Subject, make_resident, until_busy

from reconciler.engines import Engine, LoadRequest
from reconciler.fleet import EngineId, EngineKind, EngineSpec, SecretRef
from reconciler.sim import read_sim_text, running

KEY_VARIABLE, KEY = "GPUREC_TEST_KEY", "sesame-key"
KINDS = {
    OLLAMA: EngineKind.OLLAMA,
    ROUTER: EngineKind.LLAMACPP,
    SINGLE: EngineKind.LLAMACPP,
    VLLM: EngineKind.VLLM,
    LLAMASWAP: EngineKind.LLAMASWAP,
}
MANY = "[first:1, second:1, embedder:1, broken:1, huge:1]"
FLEET = """
time_scale: 0.05
models:
  - {{name: "first:1", size: 1GB, vram: 1GB}}
  - {{name: "second:1", size: 1GB, vram: 1GB}}
  - {{name: "embedder:1", size: 300MB, embedding: true}}
  - {{name: "broken:1", size: 1GB, vram: 1GB}}
  - {{name: "huge:1", size: 90GB, vram: 90GB}}
  - {{name: "fetched:1", size: 1GB}}
nodes:
  n:
    gpus: [{{name: card, vram: 24GiB}}]
    engines:
      e: {{load_seconds: 1, seconds_per_gib: 0, release_seconds: 1, {engine}}}
"""
ENGINE = {
    OLLAMA: f"kind: ollama, installed: {MANY}, registry: [fetched:1], pull_seconds: 1",
    ROUTER: f"kind: llamacpp, mode: router, installed: {MANY}, api_key: {KEY}",
    SINGLE: f"kind: llamacpp, mode: single, installed: [first:1], api_key: {KEY}",
    VLLM: f"kind: vllm, installed: [first:1], sleep_mode: true, api_key: {KEY}",
    LLAMASWAP: f"kind: llamaswap, installed: {MANY}, api_key: {KEY}, groups: {{all: {{swap: false, members: {MANY}}}}}",
}
CROWDED = {OLLAMA: ", max_queue: 1", ROUTER: ", models_max: 1, answer_seconds: 60", LLAMASWAP: ", answer_seconds: 60"}
SLEEPY = {ROUTER: ", sleep_idle: 40", SINGLE: ", sleep_idle: 40"}
BROKEN = ", faults: [{kind: fail_load, models: [broken:1]}]"


@contextmanager
def simulated(engine: str, rule: Rule) -> Iterator[Subject]:
    """A running server of that kind in the world of the rule."""
    world = CROWDED[engine] if rule.world == "crowded" else BROKEN if rule.world == "broken model" else ""
    if rule.world == "sleepy":
        world = SLEEPY.get(engine, "")
    text = FLEET.format(engine=ENGINE[engine] + world)
    with running(read_sim_text(text, "conformance")) as fleet:
        server = fleet.engines["n/e"]
        card = fleet.nodes["n"].cards[0]
        bearer = None if engine == OLLAMA else SecretRef("env", KEY_VARIABLE)
        headers = {} if bearer is None else {"Authorization": f"Bearer {KEY}"}
        if engine in (SINGLE, VLLM):
            _await_up(server.url, headers)
        yield Subject(
            engine,
            EngineSpec(EngineId("n", "e"), KINDS[engine], server.url, bearer=bearer, load_timeout=60.0),
            ("first:1",) if engine in (SINGLE, VLLM) else ("first:1", "second:1"),
            server.restart,
            begin=server.restart,
            memory=lambda: card.allocated,
            embedding="embedder:1" if engine == OLLAMA else None,
            vector_length=768,
            broken="broken:1",
            too_big=("huge:1", {"num_gpu": 99} if engine == OLLAMA else {}),
            crowd={OLLAMA: reload_at_once, ROUTER: load_beside_a_busy_model, LLAMASWAP: eleven_at_once}.get(engine),
            doze=put_to_sleep if engine == VLLM else fall_asleep,
            pulls=Pulls("fetched:1", "absent:1"),
            headers=headers,
        )


def _await_up(url: str, headers: dict[str, str]) -> None:
    """The adapter's own look is under test, so this asks by hand."""
    with httpx.Client(trust_env=False, transport=httpx.HTTPTransport(retries=8)) as client:
        while client.get(f"{url}/v1/models", headers=headers).status_code != 200:
            continue


async def reload_at_once(subject: Subject, engine: Engine) -> Outcomes:
    """Ollama: more loads than its queue takes."""
    requests = [LoadRequest(subject.installed[number % 2], -1, {"num_ctx": 1024 + 256 * number}, False) for number in range(6)]
    return await asyncio.gather(*(engine.load(request) for request in requests), return_exceptions=True)


async def load_beside_a_busy_model(subject: Subject, engine: Engine) -> Outcomes:
    """llama.cpp's router: no room under --models-max, and nothing idle to stop."""
    await make_resident(engine, subject.first)
    busy = asyncio.ensure_future(subject.use(subject.first, tokens=1500))
    try:
        await until_busy(engine, subject.first)
        return await asyncio.gather(engine.load(LoadRequest(subject.second)), return_exceptions=True)
    finally:
        busy.cancel()
        await asyncio.gather(busy, return_exceptions=True)


async def eleven_at_once(subject: Subject, engine: Engine) -> Outcomes:
    """llama-swap: more requests at once than its concurrencyLimit, asked again until all of them have come in."""

    async def occupy() -> None:
        while await subject.use(subject.first) == 429:  # the load of below was before it
            continue

    busy = [asyncio.ensure_future(occupy()) for _ in range(10)]
    outcomes: list[BaseException | None] = []
    try:
        while not any(outcomes) and not all(one.done() for one in busy):
            outcomes += await asyncio.gather(engine.load(LoadRequest(subject.first)), return_exceptions=True)
        return outcomes
    finally:
        for one in busy:
            one.cancel()
        await asyncio.gather(*busy, return_exceptions=True)


async def put_to_sleep(subject: Subject) -> None:
    """vLLM in dev mode."""
    async with httpx.AsyncClient(trust_env=False) as client:
        (await client.post(f"{subject.spec.url}/sleep?level=1")).raise_for_status()


async def fall_asleep(subject: Subject) -> None:
    """llama-server falls asleep by itself; the rule waits for it."""
    await asyncio.sleep(0)
