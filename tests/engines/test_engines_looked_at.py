"""What is only looked at: which of its models are there, what health is, and what it refuses to be asked for."""

from __future__ import annotations

import asyncio
import json

import pytest
from servers import answer, by_path, serving

from reconciler.engines import LoadRequest, Transport, open_engine
from reconciler.fleet import EngineError, EngineFacts, EngineId, EngineKind, EngineSpec


def look(kind: EngineKind, pages: dict[str, bytes], health: str | None = None) -> EngineFacts:
    async def run() -> EngineFacts:
        async with serving(by_path(pages)) as server, Transport(backoff=0.001) as transport:
            return await open_engine(EngineSpec(EngineId("n", "e"), kind, server.url, health=health), transport).observe()

    return asyncio.run(run())


def test_what_it_lists_is_there_unless_it_says_that_it_is_not() -> None:
    listed = (
        b'{"data":[{"id":"plain","max_model_len":4096},{"id":"off","state":"not-loaded"},{"id":"on","state":"loaded"},'
        b'{"id":"away","status":{"value":"unloaded"}},{"id":"coming","status":{"value":"loading"}}]}'
    )
    facts = look(EngineKind.OPENAI, {"/v1/models": answer(listed)})
    assert [one.name for one in facts.installed or ()] == ["plain", "off", "on", "away", "coming"]
    assert [(one.name, one.status.value, one.context, one.vram_bytes) for one in facts.residents or ()] == [
        ("plain", "loaded", 4096, 0),
        ("on", "loaded", None, 0),
        ("coming", "loading", None, 0),
    ]


def test_a_service_is_up_where_its_health_is_2xx_whatever_that_says() -> None:
    assert look(EngineKind.SERVICE, {"/system_stats": answer(b"\xff\x00 no JSON")}, "/system_stats").reachable
    down = look(EngineKind.SERVICE, {"/health": answer(b"{}", status="503 Service Unavailable")})
    assert (down.reachable, down.reason_code) == (False, "http_5xx")
    assert not look(EngineKind.SERVICE, {"/health": answer(b"", status="404 Not Found")}).reachable


@pytest.mark.parametrize("kind", [EngineKind.OPENAI, EngineKind.SERVICE])
def test_nothing_is_ever_asked_of_it_that_would_change_it(kind: EngineKind) -> None:
    async def run() -> list[str]:
        codes = []
        async with Transport() as transport:
            engine = open_engine(EngineSpec(EngineId("n", "e"), kind, "http://127.0.0.1:9"), transport)
            for act in (
                lambda: engine.load(LoadRequest("m")),
                lambda: engine.unload("m"),
                lambda: engine.delete("m"),
                lambda: engine.derive("m", "t", {}),
            ):
                with pytest.raises(EngineError) as raised:
                    await act()
                codes.append(raised.value.code)
        return codes

    assert asyncio.run(run()) == ["engine_fixed_model", "engine_fixed_model", "cannot_delete", "cannot_pull"]


def test_a_section_of_a_preset_that_names_no_weights_is_not_installed_on_a_router() -> None:
    listed = {
        "file": ("unloaded", "[file]\nmodel = /models/file.gguf\n"),
        "repository": ("unloaded", "[repository]\nLLAMA_ARG_HF_REPO = a/b\n"),
        "ghost": ("unloaded", "[ghost]\ncache-type-k = q8_0\n"),
        "runs": ("loaded", "[runs]\ncache-type-k = q8_0\n"),
        "untold": ("unloaded", None),
    }
    data = [{"id": name, "status": {"value": value, "preset": preset}} for name, (value, preset) in listed.items()]
    pages = {"/props": answer(b'{"role":"router"}'), "/models": answer(json.dumps({"data": data}).encode())}
    assert [one.name for one in look(EngineKind.LLAMACPP, pages).installed or ()] == ["file", "repository", "runs", "untold"]
