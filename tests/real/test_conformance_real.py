"""The rules of `tests/conformance`, unchanged, asked of the real Ollama and the real llama-server router."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from rigs import Bench

from reconciler.fleet import EngineId, EngineKind, EngineSpec, SecretRef

sys.path.append(str(Path(__file__).parents[1] / "conformance"))
from rules import RULES, Subject

KEY = "sesame"
Rule = Callable[[Subject], Awaitable[None]]


def ollama(bench: Bench) -> Subject:
    server = bench.ollama()
    spec = EngineSpec(EngineId("box", "ollama"), EngineKind.OLLAMA, server.url, load_timeout=90.0)
    return Subject(spec, "gemma:latest", "twin:latest", server.restart, "embedder:latest")


def router(bench: Bench) -> Subject:
    server = bench.router(key=KEY)
    bearer = SecretRef("env", "GPUREC_TEST_KEY")
    spec = EngineSpec(EngineId("box", "llamacpp"), EngineKind.LLAMACPP, server.url, bearer=bearer, load_timeout=90.0)
    return Subject(spec, "gemma", "twin", server.restart, asks_for_key=True)


@pytest.mark.parametrize("start", [ollama, router])
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: str(rule.__name__))
def test_conformance_of_the_real_server(
    rule: Rule, start: Callable[[Bench], Subject], bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GPUREC_TEST_KEY", KEY)

    async def ask() -> None:
        await rule(start(bench))

    asyncio.run(ask())
