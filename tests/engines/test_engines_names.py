"""Models that run elsewhere, and names in the case of the server's own list."""

from __future__ import annotations

import asyncio
import json

import pytest
from servers import answer

from reconciler.engines import Transport, open_engine
from reconciler.engines.protocol import LoadRequest
from reconciler.fleet import EngineError, EngineFacts, EngineId, EngineKind, EngineSpec

LISTED = "hf.co/Some/Model-GGUF:Q4_K_M"
CLOUD = {"name": "big:1-cloud", "size": 382, "digest": "c" * 64, "remote_model": "big:1", "remote_host": "https://ollama.com:443"}


async def talking(tags: list[dict[str, object]], shown: dict[str, object], *verbs: str) -> tuple[EngineFacts, list[tuple[str, str]]]:
    """The facts of an Ollama with these tags, and what it was then sent: path and model."""
    sent: list[tuple[str, str]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            try:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
            except asyncio.IncompleteReadError:
                return
            length = next((int(line[15:]) for line in head.split("\r\n") if line.lower().startswith("content-length:")), 0)
            body = json.loads(await reader.readexactly(length) or b"{}")
            path = head.split(" ")[1]
            if "model" in body:
                sent.append((path, body["model"]))
            pages = {"/api/tags": {"models": tags}, "/api/ps": {"models": []}, "/api/version": {"version": "1"}, "/api/show": shown}
            writer.write(answer(json.dumps(pages.get(path, {"done": True})).encode()))

    running = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{running.sockets[0].getsockname()[1]}"
    async with running, Transport() as transport:
        engine = open_engine(EngineSpec(EngineId("n", "e"), EngineKind.OLLAMA, url), transport)
        name = (await engine.observe()).installed[0].name  # type: ignore[index]
        for verb in verbs:
            await (engine.load(LoadRequest(name, -1)) if verb == "load" else getattr(engine, verb)(name))
        return await engine.observe([name]), sent


def test_a_load_an_unload_and_a_deletion_name_the_model_as_the_server_lists_it() -> None:
    facts, sent = asyncio.run(talking([{"name": LISTED, "digest": "d"}], {"modelfile": ""}, "load", "unload", "delete"))
    assert [one.name for one in facts.installed or ()] == [LISTED.lower()]
    assert {path for path, _ in sent} == {"/api/show", "/api/generate", "/api/delete"}
    assert {model for _, model in sent} == {LISTED}


def test_a_cloud_model_is_told_as_one_and_asked_nothing_about() -> None:
    facts, sent = asyncio.run(talking([dict(CLOUD)], {}))
    (installed,) = facts.installed or ()
    assert (installed.remote, installed.size_bytes) == ("https://ollama.com:443", None)
    assert sent == []


def test_a_cloud_model_that_only_its_details_tell_is_never_sent_a_load() -> None:
    tag = {key: CLOUD[key] for key in ("name", "size", "digest")}
    shown = {"modelfile": "FROM big:1-cloud", "remote_host": "https://ollama.com:443"}
    with pytest.raises(EngineError, match="cannot be kept loaded") as raised:
        asyncio.run(talking([tag], shown, "load"))
    assert raised.value.code == "runs_elsewhere"
