"""A model with variants from plan to apply on the simulated fleet: the form that fits is pulled and loaded, and stays."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_lab import served, undated
from syrupy.assertion import SnapshotAssertion

from reconciler.sim import SimEngine, SimGpu, SimModel, SimNode, SimSpec

MIB = 2**20


def model(name: str, mib: int) -> SimModel:
    return SimModel(name, size=mib * MIB, weights=mib * MIB, kv_per_token=0, vram=mib * MIB, layers=9)


Q8, Q4 = model("chat:q8", 6000), model("chat:q4", 3000)


def node(name: str, mib: int) -> SimNode:
    engine = SimEngine("ollama", "ollama", gpus=(0,), registry=(Q8, Q4))
    return SimNode(name, (SimGpu("test card", mib * MIB),), None, (engine,))


FLEET = SimSpec((node("big", 12288), node("small", 5120)), 0.0)
FORMS = "{name: chat:q8, vram: 6000MiB}", "{name: chat:q4, vram: 3000MiB}"
BOTH = f"version: 1\nmodels:\n  chat: {{engine: ollama, each: node, variants: [{', '.join(FORMS)}]}}\n"
ONLY_Q4 = f"version: 1\nmodels:\n  chat: {{engine: ollama, each: node, variants: [{FORMS[1]}]}}\n"


def test_each_node_gets_the_best_variant_that_fits_and_the_second_apply_does_nothing(tmp_path: Path, snapshot: SnapshotAssertion) -> None:
    with served(FLEET, tmp_path) as lab:
        lab.want(BOTH)
        plan = lab.run("plan")
        assert undated(plan.stdout) == snapshot
        assert lab.run("apply", "--auto-approve").exit_code == 0
        again = lab.run("plan", "--detailed-exitcode")
        assert (again.exit_code, again.stdout.startswith("No changes.")) == (0, True)
        assert "would fit" not in again.stdout


def test_a_variant_taken_out_of_the_list_is_replaced_by_the_next_apply(tmp_path: Path) -> None:
    with served(FLEET, tmp_path) as lab:
        lab.want(BOTH)
        assert lab.run("apply", "--auto-approve").exit_code == 0
        lab.want(ONLY_Q4)
        document = json.loads(lab.run("plan", "--format", "json").stdout)
        steps = [
            (step["action"], step["address"], step["engine_name"]) for step in document["steps"] if step["action"] not in ("pull", "tag")
        ]
        assert sorted(steps) == [("load", "model.chat@big/ollama", "chat:q4"), ("unload", "model.chat@big/ollama", "chat:q8")]
        applied = lab.run("apply", "--auto-approve")
        assert applied.exit_code == 0, applied.output
        assert lab.run("plan", "--detailed-exitcode").exit_code == 0


@pytest.mark.parametrize("name", ["plan", "apply"])
def test_a_saved_plan_of_variants_is_read_and_stands(tmp_path: Path, name: str) -> None:
    with served(FLEET, tmp_path) as lab:
        lab.want(BOTH)
        assert lab.run("plan", "--out", str(tmp_path / "p.json")).exit_code == 0
        if name == "plan":
            assert "not chat:q8" in lab.run("show", str(tmp_path / "p.json")).stdout
        else:
            assert lab.run("apply", str(tmp_path / "p.json")).exit_code == 0
