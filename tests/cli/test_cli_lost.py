"""What an engine evicts by its own rules for a load of ours is told, and the apply is not called complete."""

from __future__ import annotations

from pathlib import Path

from cli_lab import served

from reconciler.sim import SimEngine, SimGpu, SimModel, SimNode, SimSpec

MIB = 2**20


def model(name: str, mib: int) -> SimModel:
    return SimModel(name, size=mib * MIB, weights=mib * MIB, kv_per_token=0, vram=mib * MIB, layers=9)


FIRST, SECOND = model("first", 1000), model("second", 2550)
CARD = SimSpec(
    (SimNode("n", (SimGpu("test card", 4096 * MIB),), None, (SimEngine("ollama", "ollama", gpus=(0,), installed=(FIRST, SECOND)),)),), 0.0
)
ONE = "version: 1\nmodels:\n  first: {engine: ollama, vram: 1000MiB}\n"
TWO = ONE + "  second: {engine: ollama, vram: 2550MiB}\n"


def test_a_replica_that_ollama_evicts_for_a_load_of_ours_ends_the_apply_with_3_and_shows_in_the_next_plan(tmp_path: Path) -> None:
    # 2,550 MiB are more than 80% of the 3,096 MiB that are free, though they fit: Ollama evicts, whatever is pinned (server/sched.go).
    with served(CARD, tmp_path) as lab:
        lab.want(ONE)
        assert lab.run("apply", "--auto-approve").exit_code == 0
        lab.want(TWO)
        result = lab.run("apply", "--auto-approve")
        assert "Apply incomplete." in result.stdout
        assert "! lost  model.first@n/ollama  was resident before this run and is not any more" in " ".join(result.stdout.split(" "))
        assert "! model.first@n/ollama: lost: " in result.stderr
        assert result.exit_code == 3
        assert "missing" in lab.run("drift").stdout
