"""`gpurec import` over a simulated fleet: an empty workspace is given desired YAML, and what runs is adopted without a word to a server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from cli_lab import Lab, served
from syrupy.assertion import SnapshotAssertion

from reconciler.sim import read_sim_text

FLEET = """
time_scale: 0
models:
  - {name: "llama3.1:8b", vram: 5GiB}
  - {name: nomic-embed-text, vram: 300MiB, embedding: true}
  - {name: "mistral:7b", vram: 4GiB}
  - {name: phi-3-mini, vram: 3GiB}
nodes:
  ada:
    ram: 64GiB
    gpus: [{vram: 24GiB, compute_capability: "8.9"}]
    engines: {ollama: {kind: ollama, installed: ["llama3.1:8b", nomic-embed-text, "mistral:7b"]}}
  bea:
    gpus: [{vram: 8GiB}]
    engines: {ollama: {kind: ollama, installed: [nomic-embed-text]}}
  cleo:
    gpus: [{vram: 12GiB}]
    engines: {llamacpp: {kind: llamacpp, mode: router, installed: [phi-3-mini]}}
"""
WANTED = """
version: 1
models:
  llama3.1:8b: {engine: ollama, on: ada, context: 8192, vram: 6GiB}
  nomic-embed-text: {engine: ollama, each: node, vram: 350MiB}
  phi-3-mini: {engine: llamacpp, vram: 3GiB}
"""


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    """A fleet with residents of which no file of the workspace knows."""
    with served(read_sim_text(FLEET, "fleet.yaml"), tmp_path) as lab:
        lab.want(WANTED)
        assert lab.run("apply", "--auto-approve").exit_code == 0
        body = {"model": "mistral:7b", "keep_alive": "10m", "stream": False}
        httpx.post(lab.fleet.engines["ada/ollama"].url + "/api/generate", json=body).raise_for_status()
        lab.state.unlink()
        (lab.root / "desired" / "demo.yaml").unlink()
        for engine in lab.fleet.engines.values():
            engine.forget_requests()
        yield lab


def test_import_then_plan_adopts_and_after_the_apply_the_plan_is_empty(lab: Lab) -> None:
    out = lab.root / "desired" / "demo.yaml"
    result = lab.run("import", "--out", str(out))
    assert (result.exit_code, result.stderr) == (0, f"Wrote {out}: 4 models. To see what it comes to: gpurec plan\n")
    planned = lab.run("plan", "--format", "json", "--detailed-exitcode")
    summary = json.loads(planned.stdout)["summary"]
    assert {name: count for name, count in summary.items() if count} == {"adopt": 5, "pending": 5}
    applied = lab.run("apply", "--auto-approve")
    assert applied.exit_code == 0, applied.output
    assert not [sent for sent in lab.sent() if sent != "POST /api/show"]
    assert lab.run("plan", "--detailed-exitcode").stdout.startswith("No changes.")


def test_what_is_written_reads_as_what_runs(lab: Lab, snapshot: SnapshotAssertion) -> None:
    lines = lab.run("import").stdout.splitlines(keepends=True)
    assert lines[0].startswith("# What ran on the fleet demo at 2")
    assert "".join(lines[1:]) == snapshot


def test_a_file_below_the_workspace_names_the_schema_that_is_written_with_it_and_no_other_does(lab: Lab, tmp_path: Path) -> None:
    out = lab.root / "desired" / "more" / "demo.yaml"
    out.parent.mkdir(parents=True)
    assert lab.run("import", "--out", str(out)).exit_code == 0
    first = out.read_text().splitlines()[0]
    assert first == "# yaml-language-server: $schema=../../.gpurec/schemas/desired.json"
    assert (out.parent / first.partition("=")[2]).read_text() == lab.run("schema", "desired").stdout
    elsewhere = tmp_path.parent / f"{tmp_path.name}-elsewhere.yaml"
    assert lab.run("import", "--out", str(elsewhere)).exit_code == 0
    assert elsewhere.read_text().startswith("# What ran")


def test_import_again_with_the_state_says_the_same_and_loses_no_option(lab: Lab) -> None:
    out = lab.root / "desired" / "demo.yaml"
    assert lab.run("import", "--out", str(out)).exit_code == 0
    assert lab.run("apply", "--auto-approve").exit_code == 0
    assert lab.run("import").stdout.splitlines()[1:] == out.read_text().splitlines()[2:]


def test_import_overwrites_nothing_without_force(lab: Lab) -> None:
    lab.want("version: 1\n# mine\nmodels: {}\n")
    out = lab.root / "desired" / "demo.yaml"
    result = lab.run("import", "--out", str(out))
    assert (result.exit_code, out.read_text()) == (1, "version: 1\n# mine\nmodels: {}\n")
    assert "this file is there already" in result.stderr
    assert "--force" in result.stderr
    assert lab.run("import", "--out", str(out), "--force").exit_code == 0
    assert "# mine" not in out.read_text()
    assert [path.name for path in out.parent.iterdir()] == ["demo.yaml"]


def test_import_changes_no_state_and_no_server_and_tells_what_it_left_out(lab: Lab) -> None:
    lab.fleet.engines["bea/ollama"].kill()
    result = lab.run("import")
    assert result.exit_code == 4
    assert "# Left out: bea/ollama: " in result.stdout
    assert "Warning: bea/ollama is left out: " in result.stderr
    assert not lab.state.exists()
    assert not [sent for sent in lab.sent() if sent != "POST /api/show"]


PAIR = """
time_scale: 0
models: [{name: "m:1", vram: 4GiB}]
nodes:
  ada:
    gpus: [{vram: 12GiB}, {vram: 12GiB}]
    engines:
      one: {kind: ollama, gpus: [0], installed: ["m:1"]}
      two: {kind: ollama, gpus: [1], installed: ["m:1"]}
"""


def test_a_model_that_runs_with_another_context_on_a_second_engine_of_the_node_is_left_out_with_what_to_do(tmp_path: Path) -> None:
    with served(read_sim_text(PAIR, "fleet.yaml"), tmp_path) as lab:
        engines = [lab.fleet.engines[f"ada/{name}"] for name in ("one", "two")]

        def run(number: int, name: str, **more: object) -> None:
            body = {"model": name, "keep_alive": -1, "stream": False, **more}
            httpx.post(engines[number].url + "/api/generate", json=body).raise_for_status()

        run(0, "m:1", options={"num_ctx": 4096})
        run(1, "m:1", options={"num_ctx": 8192})
        done = lab.run("import", "--out", "desired/demo.yaml", "--force")
        assert done.exit_code == 0
        what = "m:1 on ada/two is left out: another engine of its node runs it with context 4096, and one entry asks for one of the two; "
        assert f"{what}run it alike on both, or load it here by a name of its own (ollama cp m:1 NAME), then import again" in done.stderr
        assert lab.run("apply", "--auto-approve").exit_code == 0
        assert lab.run("plan").stdout.startswith("No changes.")

        copied = {"source": "m:1", "destination": "m:long"}
        httpx.post(engines[1].url + "/api/copy", json=copied).raise_for_status()
        run(1, "m:1", keep_alive=0)
        run(1, "m:long", options={"num_ctx": 8192})
        for engine in engines:
            engine.forget_requests()
        again = lab.run("import", "--out", "desired/demo.yaml", "--force")
        assert (again.exit_code, "left out" in again.stderr) == (0, False)
        text = (lab.root / "desired" / "demo.yaml").read_text()
        assert "context: 4096" in text
        assert "context: 8192" in text
        assert lab.run("apply", "--auto-approve").exit_code == 0
        assert lab.run("plan").stdout.startswith("No changes.")
        assert not [request for engine in engines for request in engine.requests if "/generate" in str(request)]
