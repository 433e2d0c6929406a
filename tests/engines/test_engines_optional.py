"""A question that is not needed to know an engine: whatever becomes of it, its own fact is unknown and nothing else."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping

import pytest
from servers import Talk, answer, serving

from reconciler.engines import Transport, llamacpp, open_engine
from reconciler.engines.look import Look
from reconciler.fleet import EngineFacts, EngineId, EngineKind, EngineSpec
from reconciler.health.engines import engine_findings

DIGEST = "d" * 64
PAGES: Mapping[EngineKind, Mapping[str, bytes]] = {
    EngineKind.OLLAMA: {
        "/api/tags": b'{"models":[{"name":"m:1","size":1000,"digest":"%s"}]}' % DIGEST.encode(),
        "/api/ps": b'{"models":[{"name":"m:1","size":1000,"size_vram":1000,"digest":"%s"}]}' % DIGEST.encode(),
        "/api/version": b'{"version":"0.34.0"}',
        "/api/show": b'{"modelfile":"FROM /x/sha256-%s","model_info":{}}' % (b"a" * 64),
    },
    EngineKind.VLLM: {
        "/v1/models": b'{"data":[{"id":"m:1","owned_by":"vllm","max_model_len":4096}]}',
        "/health": b"",
        "/version": b'{"version":"0.32.0"}',
        "/metrics": b'vllm:cache_config_info{block_size="16"} 1\n',
    },
    EngineKind.LLAMASWAP: {
        "/v1/models": b'{"data":[{"id":"m:1"}]}',
        "/running": b'{"running":[{"model":"m:1","state":"ready"}]}',
        "/api/version": b'{"version":"v240"}',
    },
}
OPTIONAL = [
    (EngineKind.OLLAMA, "/api/version"),
    (EngineKind.OLLAMA, "/api/show"),
    (EngineKind.VLLM, "/health"),
    (EngineKind.VLLM, "/version"),
    (EngineKind.VLLM, "/metrics"),
    (EngineKind.LLAMASWAP, "/api/version"),
]
STRANGE = {
    "refused": answer(b"<html>", status="403 Forbidden"),
    "asks for a key": answer(b"{}", status="401 Unauthorized"),
    "redirected": answer(b"", "Location: http://127.0.0.1:9/", status="307 Temporary Redirect"),
    "broken": answer(b"no", status="500 Internal Server Error"),
    "not there": answer(b"{}", status="405 Method Not Allowed"),
    "html": answer(b"<html>hello</html>"),
    "another shape": answer(b"[1, 2]"),
    "huge": b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n",
    "no http": b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
    "cut": b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{",
    "silent": b"",
}


def look(kind: EngineKind, path: str, strange: bytes, timeout: float = 5.0) -> EngineFacts:
    async def talk(asked: str, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(strange if asked == path else answer(PAGES[kind][asked]))
        if strange.endswith(b"{") and asked == path:
            await writer.drain()
            raise ConnectionError

    async def run(talk: Talk) -> EngineFacts:
        async with serving(talk) as server, Transport(backoff=0.001) as transport:
            return await open_engine(EngineSpec(EngineId("n", "e"), kind, server.url, timeout=timeout), transport).observe()

    return asyncio.run(run(talk))


def told(facts: EngineFacts) -> dict[str, object]:
    """What is known of the engine, by question."""
    resident = (facts.residents or ())[0]
    return {"build": facts.build, "options": resident.options, "blob": resident.blob, "names": resident.name, "context": resident.context}


OWN_FACT = {"/api/version": "build", "/version": "build", "/metrics": "options", "/api/show": "blob"}


@pytest.mark.parametrize("strange", STRANGE)
@pytest.mark.parametrize(("kind", "path"), OPTIONAL, ids=lambda one: str(one))
def test_an_optional_question_that_fails_makes_its_own_fact_unknown_and_nothing_else(kind: EngineKind, path: str, strange: str) -> None:
    whole = look(kind, "", b"")
    facts = look(kind, path, STRANGE[strange], timeout=1.0 if strange == "silent" else 5.0)
    assert facts.reachable, facts.reason
    expected = told(whole)
    if path != "/health":  # nothing is learned from it but that the engine has died
        expected[OWN_FACT[path]] = None
    assert told(facts) == expected


def test_what_was_asked_in_vain_is_told_with_advice_about_that_question() -> None:
    facts = look(EngineKind.VLLM, "/metrics", STRANGE["refused"])
    spec = EngineSpec(EngineId("n", "e"), EngineKind.VLLM, "http://h:8000")
    (finding,) = engine_findings(spec, facts)
    assert (finding.code, finding.address) == ("partly_seen", "engine.n/e")
    assert "/metrics" in finding.what
    assert "url" not in finding.mend
    assert "key" not in finding.mend


def test_a_slow_optional_question_leaves_the_others_their_time() -> None:
    facts = look(EngineKind.VLLM, "/health", b"", timeout=1.5)
    assert told(facts) == told(look(EngineKind.VLLM, "", b""))


def test_an_optional_answer_that_its_reader_trips_over_is_unknown_and_nothing_else() -> None:
    async def run() -> tuple[object, list[str]]:
        async def trips(within: float) -> int:
            raise ValueError("of the reader's own")

        look = Look(EngineSpec(EngineId("n", "e"), EngineKind.VLLM, "http://h:8000"))
        return await look.optional(trips), look.notes

    found, notes = asyncio.run(run())
    assert (found, len(notes)) == (None, 1)
    assert "gpurec cannot read its answer (ValueError: of the reader's own)" in notes[0]


def test_counts_of_a_llama_server_that_nobody_can_read_leave_what_it_holds_known(monkeypatch: pytest.MonkeyPatch) -> None:
    def trips(found: object) -> None:
        raise ValueError("of the reader's own")

    monkeypatch.setattr(llamacpp, "of_llamacpp", trips)

    async def run() -> EngineFacts:
        async def talk(path: str, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            pages = {"/props": {"build_info": "b10760-x", "total_slots": 1}, "/models": {"data": [{"id": "m:1"}]}, "/metrics": {}}
            writer.write(answer(json.dumps(pages[path]).encode()))

        async with serving(talk) as server, Transport() as transport:
            transport.activity = {}
            return await open_engine(EngineSpec(EngineId("n", "e"), EngineKind.LLAMACPP, server.url), transport).observe()

    facts = asyncio.run(run())
    assert (facts.reachable, [one.name for one in facts.residents or ()]) == (True, ["m:1"])


def test_a_server_of_the_same_api_that_is_no_vllm_is_not_taken_for_one() -> None:
    async def run() -> EngineFacts:
        async def talk(path: str, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            known = path == "/v1/models"
            body = json.dumps({"data": [{"id": "m:1", "owned_by": "library"}]} if known else {}).encode()
            writer.write(answer(body, status="200 OK" if known else "404 Not Found"))

        async with serving(talk) as server, Transport() as transport:
            return await open_engine(EngineSpec(EngineId("n", "e"), EngineKind.VLLM, server.url), transport).observe()

    facts = asyncio.run(run())
    assert (facts.reachable, facts.reason_code) == (False, "not_its_protocol")


def test_one_model_that_cannot_be_shown_leaves_the_others_known() -> None:
    async def run() -> EngineFacts:
        async def talk(path: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            tags = {"models": [{"name": f"m:{one}", "size": 1000, "digest": str(one) * 64} for one in range(3)]}
            if path == "/api/show":
                server.shown += 1
                shown = {"modelfile": f"FROM /x/sha256-{server.shown:064d}"}
                writer.write(answer(json.dumps(shown).encode(), status="500 Broken" if server.shown == 1 else "200 OK"))
            else:
                body = tags if path == "/api/tags" else {"models": []} if path == "/api/ps" else {"version": "1"}
                writer.write(answer(json.dumps(body).encode()))

        async with serving(talk) as server, Transport(backoff=30.0) as transport:
            server.shown = 0
            return await open_engine(EngineSpec(EngineId("n", "e"), EngineKind.OLLAMA, server.url), transport).observe(
                ["m:0", "m:1", "m:2"]
            )

    facts = asyncio.run(run())
    assert [one.blob is not None for one in facts.installed or ()] == [False, True, True]
