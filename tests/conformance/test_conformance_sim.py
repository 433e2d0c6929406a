"""The rules, asked of the simulated engines. `make real` asks the same of the real ones."""

from __future__ import annotations

import asyncio

import pytest
from rules import RULES, Subject

from reconciler.fleet import EngineId, EngineKind, EngineSpec, SecretRef
from reconciler.sim import read_sim_text, running

FLEET = """
time_scale: 0.1
models:
  - {name: "first:1", size: 1GB}
  - {name: "second:1", size: 1GB}
  - {name: "embedder:1", size: 300MB, embedding: true}
nodes:
  o:
    gpus: [{name: card, vram: 24GiB}]
    engines: {ollama: {kind: ollama, installed: ["first:1", "second:1", "embedder:1"], load_seconds: 1, release_seconds: 1}}
  l:
    gpus: [{name: card, vram: 24GiB}]
    engines:
      llamacpp: {kind: llamacpp, mode: router, api_key: secret, installed: ["first:1", "second:1"], load_seconds: 1, release_seconds: 1}
"""


@pytest.mark.parametrize("kind", [EngineKind.OLLAMA, EngineKind.LLAMACPP])
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_conformance(rule, kind, monkeypatch):
    monkeypatch.setenv("GPUREC_TEST_KEY", "secret")
    with running(read_sim_text(FLEET, "conformance")) as fleet:
        at = EngineId("o" if kind is EngineKind.OLLAMA else "l", kind.value)
        engine = fleet.engines[str(at)]
        keyed = kind is EngineKind.LLAMACPP
        spec = EngineSpec(at, kind, engine.url, bearer=SecretRef("env", "GPUREC_TEST_KEY") if keyed else None)
        embedding = None if keyed else "embedder:1"
        asyncio.run(rule(Subject(spec, "first:1", "second:1", engine.restart, embedding, keyed)))
