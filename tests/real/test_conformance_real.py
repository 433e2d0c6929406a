"""The rules of `tests/conformance`, unchanged, asked of the real Ollama and the real llama-server router, on a card in software."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest
from rigs import Bench

from reconciler.fleet import EngineId, EngineKind, EngineSpec, SecretRef

sys.path.insert(0, str(Path(__file__).parent.parent / "conformance"))
from rules import RULES, Subject

ROOM = 2048 << 20
KEY = "sesame"


@pytest.mark.parametrize("kind", [EngineKind.OLLAMA, EngineKind.LLAMACPP])
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_conformance_of_the_real_server(rule, kind, bench: Bench, monkeypatch) -> None:
    monkeypatch.setenv("GPUREC_TEST_KEY", KEY)
    card = bench.card(ROOM)
    keyed = kind is EngineKind.LLAMACPP
    server = bench.router((card,), key=KEY) if keyed else bench.ollama((card,))
    tag = "" if keyed else ":latest"

    def restart() -> None:
        server.kill()
        server.start()

    spec = EngineSpec(
        EngineId("box", kind.value), kind, server.url, bearer=SecretRef("env", "GPUREC_TEST_KEY") if keyed else None, load_timeout=90.0
    )
    asyncio.run(rule(Subject(spec, f"gemma{tag}", f"twin{tag}", restart, None, keyed)))
