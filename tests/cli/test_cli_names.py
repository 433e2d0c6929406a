"""Names of models are shown and pulled as they are written; that they are the same is decided without regard to case."""

from __future__ import annotations

import pytest
from cli_lab import served

from reconciler.sim.read import read_sim_text

WRITTEN = "Qwen2.5:7b-Instruct-Q2_K"


@pytest.fixture
def lab(tmp_path):
    fleet = f"""
time_scale: 0
models: [{{name: "{WRITTEN}", size: 1GiB}}, {{name: "Other:Q8_0", size: 1GiB}}]
nodes:
  a: {{gpus: [{{name: RTX, vram: 24GiB}}], engines: {{ollama: {{kind: ollama, installed: ["Other:Q8_0"], registry: ["{WRITTEN}"]}}}}}}
"""
    with served(read_sim_text(fleet, "fleet.yaml"), tmp_path) as lab:
        lab.want(f"version: 1\nmodels:\n  {WRITTEN}: {{vram: 2GiB}}\n  other:q8_0: {{vram: 2GiB}}\n")
        yield lab


def test_a_pull_asks_the_registry_for_the_name_as_it_is_written(lab):
    assert lab.run("apply", "--auto-approve").exit_code == 0
    pulls = [one.body["model"] for engine in lab.fleet.engines.values() for one in engine.requests if one.path == "/api/pull"]
    assert pulls == [WRITTEN]
    assert lab.run("plan").stdout.startswith("No changes.")


def test_residents_are_shown_in_the_spelling_of_their_engine(lab):
    lab.run("apply", "--auto-approve")
    shown = lab.run("facts").stdout
    assert WRITTEN in shown
    assert "Other:Q8_0" in shown
    assert "  a/0  Other:Q8_0 (ollama) " in lab.run("status").stdout
