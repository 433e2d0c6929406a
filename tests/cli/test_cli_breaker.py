"""A policy of health and a breaker over real HTTP: an engine that fails every load is left alone, one that answers late is waited for."""

from __future__ import annotations

from pathlib import Path

from cli_lab import served

from reconciler.sim import SimEngine, SimGpu, SimModel, SimNode, SimSpec

MIB = 2**20
NAMES = ("m0", "m1", "m2")
"""As many as the server keeps loaded on one card."""
MODELS = tuple(SimModel(name, size=100 * MIB, weights=100 * MIB, kv_per_token=0, vram=100 * MIB, layers=9) for name in NAMES)
PAIR = SimSpec(
    tuple(
        SimNode(node, (SimGpu("test card", 8192 * MIB),), None, (SimEngine("ollama", "ollama", gpus=(0,), installed=MODELS),))
        for node in ("bad", "good")
    ),
    0.0,
)
WANTED = "\nmodels:\n" + "".join(f"  {name}: {{engine: ollama, each: node, vram: 100MiB}}\n" for name in NAMES)


def test_an_engine_that_fails_every_load_is_left_alone_and_the_other_gets_all(tmp_path: Path) -> None:
    with served(PAIR, tmp_path) as lab:
        bad = lab.fleet.engines["bad/ollama"]
        bad.set_fault("fail_load")
        lab.want(f"version: 1\npolicy: {{breaker: {{failures: 1, reset: 1h}}, remediation: {{retries: 0}}}}{WANTED}")
        result = lab.run("apply", "--auto-approve", "--keep-going")
        assert result.exit_code == 3
        loads = [request for request in bad.requests if request.method == "POST" and request.path in ("/api/generate", "/api/embed")]
        assert len(loads) == 1
        assert len(lab.fleet.engines["good/ollama"].residents) == len(NAMES)
        assert "1 step in a row failed on bad/ollama" in " ".join(result.stdout.split())
        history = lab.run("history", "1")
        assert history.stdout.count("breaker_open") == 2
        bad.clear_faults()
        assert lab.run("apply", "--auto-approve").exit_code == 0
        assert len(bad.residents) == len(NAMES)


def test_the_timeout_of_the_health_policy_is_that_of_a_look_during_an_apply(tmp_path: Path) -> None:
    with served(PAIR, tmp_path) as lab:
        lab.want("version: 1\npolicy: {health: {timeout: 1s, unhealthy_after: 1}, breaker: {failures: 1}}" + WANTED)
        lab.fleet.engines["bad/ollama"].set_fault("slow", seconds=2.5, paths=("/api/ps",))
        result = lab.run("apply", "--auto-approve", "--keep-going")
        assert result.exit_code == 3
        assert "did not answer within" in " ".join(result.stdout.split())
        assert lab.fleet.engines["bad/ollama"].residents == {}
        assert len(lab.fleet.engines["good/ollama"].residents) == len(NAMES)
