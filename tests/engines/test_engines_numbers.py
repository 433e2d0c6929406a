"""Numbers from outside have a range, checked where they come in: what is out of it is unknown, and the rest of the answer stands."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import tracemalloc

import pytest
from servers import answer, by_path, serving

from reconciler.engines import LoadRequest, Transport, open_engine
from reconciler.engines.last_net import Netted
from reconciler.fleet import EngineError, EngineFacts, EngineId, EngineKind, EngineSpec

NONSENSE = ["-1", str(2**63), "9" * 400, "1e999", "-1e999", "NaN", "1.5", '"8192"', "[]", "{}", "true"]
SHORT = [one if len(one) < 20 else f"{len(one)} digits" for one in NONSENSE]
PAGES = {
    EngineKind.OLLAMA: {
        "/api/version": '{"version":"1"}',
        "/api/tags": '{"models":[{"name":"m:1","digest":"d","size":N}]}',
        "/api/ps": '{"models":[{"name":"m:1","digest":"d","size":N,"size_vram":N,"context_length":N}]}',
        "/api/show": '{"modelfile":"","parameters":"num_ctx N"}',
    },
    EngineKind.LLAMACPP: {
        "/props": '{"role":"router","max_instances":N,"default_generation_settings":{"n_ctx":N}}',
        "/models": '{"data":[{"id":"m:1","status":{"value":"loaded"},"meta":{"n_ctx":N,"size":N}}]}',
    },
    EngineKind.VLLM: {"/v1/models": '{"data":[{"id":"m:1","max_model_len":N}]}', "/version": '{"version":"1"}', "/health": ""},
    EngineKind.OPENAI: {"/v1/models": '{"data":[{"id":"m:1","max_model_len":N}]}'},
    EngineKind.LLAMASWAP: {"/v1/models": '{"data":[{"id":"m:1"}]}', "/running": '{"running":[{"model":"m:1","state":"ready","ttl":N}]}'},
}


def look(kind: EngineKind, pages: dict[str, str], wanted: tuple[str, ...] = ()) -> EngineFacts:
    async def run() -> EngineFacts:
        bodies = {path: answer(body.encode()) for path, body in pages.items()}
        async with serving(by_path(bodies)) as server, Transport(backoff=0.001) as transport:
            return await open_engine(EngineSpec(EngineId("n", "e"), kind, server.url), transport).observe(wanted)

    return asyncio.run(run())


def numbers_of(facts: EngineFacts) -> list[int | None]:
    installed = [number for one in facts.installed or () for number in (one.size_bytes, one.context, one.beside_bytes)]
    residents = [number for one in facts.residents or () for number in (one.size_bytes, one.vram_bytes, one.context)]
    return [facts.max_residents, *installed, *residents]


@pytest.mark.parametrize("said", NONSENSE, ids=SHORT)
@pytest.mark.parametrize("kind", list(PAGES))
def test_a_number_out_of_its_range_is_unknown_and_the_engine_stays_known(kind: EngineKind, said: str) -> None:
    facts = look(kind, {path: body.replace("N", said) for path, body in PAGES[kind].items()}, ("m:1",))
    assert facts.reachable, facts.reason
    assert [one.name for one in facts.residents or ()] == ["m:1"]
    for number in numbers_of(facts):
        assert number is None or number in (0, 1)
        sqlite3.connect(":memory:").execute("select ?", (number,))


@pytest.mark.parametrize("kind", list(PAGES))
def test_a_number_in_its_range_is_kept(kind: EngineKind) -> None:
    facts = look(kind, {path: body.replace("N", "4096") for path, body in PAGES[kind].items()}, ("m:1",))
    assert kind is EngineKind.LLAMASWAP or 4096 in numbers_of(facts)


def test_a_number_of_more_digits_than_python_reads_is_one_sentence_about_that_engine() -> None:
    pages = {path: body.replace("N", "9" * 5000) for path, body in PAGES[EngineKind.OLLAMA].items()}
    facts = look(EngineKind.OLLAMA, pages)
    assert facts.reason_code == "not_its_protocol"
    assert len(str(facts.reason)) < 500


@pytest.mark.parametrize(
    "said", ["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "2026-01-01T00:00:00." + "1" * 100_000, "1" * 500]
)
def test_a_time_that_nobody_can_mean_is_unknown_or_a_time(said: str) -> None:
    running = json.dumps({"models": [{"name": "m:1", "expires_at": said}]})
    facts = look(EngineKind.OLLAMA, {**PAGES[EngineKind.OLLAMA], "/api/tags": '{"models":[]}', "/api/ps": running})
    assert facts.reachable


@pytest.mark.parametrize(
    "body",
    [
        b'{"models":[' + b'{"name":"a"},' * 5_000_000 + b'{"name":"a"}]}',
        b'{"models":' + b"[[]," * 4_000_000,
        b'{"models":[' + b"{}," * 5_000_000,
    ],
    ids=["short names", "lists", "objects"],
)
def test_a_list_of_millions_costs_a_few_times_its_bytes_and_one_sentence(body: bytes) -> None:
    async def run() -> EngineFacts:
        pages = {path: answer(page.encode()) for path, page in PAGES[EngineKind.OLLAMA].items()}
        async with serving(by_path({**pages, "/api/tags": answer(body)})) as server, Transport() as transport:
            tracemalloc.reset_peak()
            return await open_engine(EngineSpec(EngineId("n", "e"), EngineKind.OLLAMA, server.url, timeout=30.0), transport).observe()

    tracemalloc.start()
    try:
        facts = asyncio.run(run())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert facts.reason_code == "too_large"
    assert peak < 3 * len(body) + 100_000_000


def test_more_models_than_any_server_has_are_refused() -> None:
    listed = json.dumps({"models": [{"name": f"m:{one}"} for one in range(10_001)]})
    facts = look(EngineKind.OLLAMA, {**PAGES[EngineKind.OLLAMA], "/api/tags": listed})
    assert facts.reason_code == "not_its_protocol"


@pytest.mark.parametrize("error", [OverflowError("int too big"), RecursionError(), UnicodeError("x"), KeyError("a"), MemoryError()])
def test_a_mistake_of_a_reader_is_the_failure_of_that_engine_alone(error: Exception) -> None:
    class Broken:
        spec = EngineSpec(EngineId("n", "e"), EngineKind.OLLAMA, "http://h")

        def __getattr__(self, name: str) -> object:
            async def fail(*_: object) -> None:
                raise error

            return fail

    engine = Netted(Broken())  # type: ignore[arg-type]
    facts = asyncio.run(engine.observe())
    assert (facts.reachable, facts.reason_code) == (False, "unreadable")
    assert type(error).__name__ in str(facts.reason)
    with pytest.raises(EngineError) as raised:
        asyncio.run(engine.load(LoadRequest("m:1")))
    assert raised.value.code == "unreadable"


VECTORS = {
    "[NaN, 1.0]": "holds nan (number 1 of 2)",
    "[1.0, Infinity]": "holds inf (number 2 of 2)",
    "[1.0, null]": "holds null (number 2 of 2)",
    "[1e999, 0.0]": "holds inf (number 1 of 2)",
    "[0.0, 0, -0.0]": "a vector of 3 zeros",
}


@pytest.mark.parametrize("vector", VECTORS)
@pytest.mark.parametrize("kind", [EngineKind.OLLAMA, EngineKind.LLAMACPP, EngineKind.VLLM, EngineKind.LLAMASWAP])
def test_a_vector_that_nothing_can_be_found_by_is_refused(kind: EngineKind, vector: str) -> None:
    pages = {"/api/embed": f'{{"embeddings":[{vector}]}}', "/v1/embeddings": f'{{"data":[{{"embedding":{vector}}}]}}'}

    async def run() -> int:
        async with serving(by_path({path: answer(body.encode()) for path, body in pages.items()})) as server, Transport() as transport:
            return await open_engine(EngineSpec(EngineId("n", "e"), kind, server.url), transport).vector_length(LoadRequest("m:1"))

    with pytest.raises(EngineError) as raised:
        asyncio.run(run())
    assert VECTORS[vector] in str(raised.value)
