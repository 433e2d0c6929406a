"""What an engine evicts by its own rules for a load of ours is told, and the apply is not called complete."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from cli_lab import served

from reconciler.sim import SimEngine, SimGpu, SimModel, SimNode, SimSpec

MIB = 2**20


def model(name: str, mib: int) -> SimModel:
    return SimModel(name, size=mib * MIB, weights=mib * MIB, kv_per_token=0, vram=mib * MIB, layers=9)


FIRST, SECOND = model("first", 1000), model("second", 2550)
MEDIUM = model("second", 2000)
ENGINE = SimEngine("ollama", "ollama", gpus=(0,), installed=(FIRST, SECOND))
CARD = SimSpec((SimNode("n", (SimGpu("test card", 4096 * MIB),), None, (ENGINE,)),), 0.0)
LIMITED = replace(ENGINE, max_loaded=1, installed=(FIRST, MEDIUM))
SILENT_LIMIT = SimSpec((SimNode("n", (SimGpu("test card", 4096 * MIB),), None, (LIMITED,)),), 0.0)
ONE = "version: 1\nmodels:\n  first: {engine: ollama, vram: 1000MiB}\n"
TWO = ONE + "  second: {engine: ollama, vram: 2550MiB}\n"


def test_a_load_for_which_ollama_would_evict_a_replica_is_not_sent(tmp_path: Path) -> None:
    # 2,550 MiB are more than 80% of the 3,096 MiB that are free, though they fit: Ollama evicts, whatever is pinned (server/sched.go).
    # What is there is protected, so it does not leave for another order either.
    with served(CARD, tmp_path) as lab:
        lab.want(ONE.replace("1000MiB", "1000MiB, protect: true"))
        assert lab.run("apply", "--auto-approve").exit_code == 0
        lab.want(TWO.replace("1000MiB", "1000MiB, protect: true"))
        result = lab.run("apply", "--auto-approve")
        assert result.exit_code == 3
        assert "(engine_would_evict)" in result.stdout
        assert "a further model must fit into 80% of the 3096 MiB that it believes free" in " ".join(result.stdout.split())
        assert lab.run("drift").exit_code == 0


def test_models_that_ollama_takes_in_one_order_only_are_loaded_in_that_order(tmp_path: Path) -> None:
    with served(CARD, tmp_path) as lab:
        lab.want(TWO)
        assert lab.run("apply", "--auto-approve").exit_code == 0
        assert lab.run("plan", "--detailed-exitcode").exit_code == 0


def test_a_model_that_ollama_takes_only_first_goes_before_the_one_that_is_there(tmp_path: Path) -> None:
    with served(CARD, tmp_path) as lab:
        lab.want(ONE)
        assert lab.run("apply", "--auto-approve").exit_code == 0
        lab.want(TWO)
        shown = lab.run("plan").stdout
        assert "1 to unload" in shown and "2 to load" in shown  # noqa: PT018
        assert lab.run("apply", "--auto-approve").exit_code == 0
        assert lab.run("plan", "--detailed-exitcode").exit_code == 0


def test_a_replica_that_ollama_evicts_by_a_limit_that_nobody_told_ends_the_apply_with_3_and_shows_in_the_next_plan(tmp_path: Path) -> None:
    with served(SILENT_LIMIT, tmp_path) as lab:
        lab.want(ONE)
        assert lab.run("apply", "--auto-approve").exit_code == 0
        lab.want(TWO.replace("2550MiB", "2000MiB"))
        result = lab.run("apply", "--auto-approve")
        assert "Apply incomplete." in result.stdout
        assert "! lost model.first@n/ollama was resident before this run and is not any more" in " ".join(result.stdout.split())
        assert "! model.first@n/ollama: lost: " in result.stderr
        assert result.exit_code == 3
        assert "missing" in lab.run("drift").stdout


def test_a_pulled_model_for_which_ollama_would_evict_a_replica_is_not_loaded(tmp_path: Path) -> None:
    # What Ollama will predict is not known before the pull; after it the file is there.
    pulls = replace(ENGINE, installed=(FIRST,), registry=(SECOND,), pull_seconds=0.0)
    of = SimSpec((SimNode("n", (SimGpu("test card", 4096 * MIB),), None, (pulls,)),), 0.0)
    with served(of, tmp_path) as lab:
        lab.want(ONE)
        assert lab.run("apply", "--auto-approve").exit_code == 0
        lab.want(TWO)
        result = lab.run("apply", "--auto-approve")
        assert result.exit_code == 3
        assert "n/ollama would evict first:latest for it by its own rules" in result.stdout + result.stderr
        assert lab.run("drift").exit_code == 0


def test_a_reload_under_another_tag_loses_nobody(tmp_path: Path) -> None:
    with served(CARD, tmp_path) as lab:
        for context in (2000, 3000, 1500):
            lab.want(ONE.replace("1000MiB", f"1000MiB, context: {context}"))
            result = lab.run("apply", "--auto-approve")
            assert (result.exit_code, "lost" in result.stderr, "Apply complete!" in result.stdout) == (0, False, True), result.output
