"""`gpurec bench` and `gpurec top`: what is resident, as it is; nothing is loaded, and nothing written."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_lab import Lab, served
from test_cli_engines import FLEET, _await

from reconciler.sim import read_sim_text

WRITER = 'version: 1\nmodels:\n  "writer:1": {engine: ollama, vram: 1GiB, context: 2048}\n'


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with served(read_sim_text(FLEET, "engines"), tmp_path) as found:
        _await(found.fleet.engines["v/vllm"].url)
        yield found


def test_a_bench_says_how_fast_a_resident_model_is_and_reloads_nothing(lab: Lab) -> None:
    lab.want(WRITER)
    assert lab.run("apply", "--auto-approve").exit_code == 0
    engine = lab.fleet.engines["o/ollama"]
    before = dict(engine.residents)
    lab.fleet.forget_requests()
    for name in ("writer:1", "model.writer:1@o/ollama"):
        document = json.loads(lab.run("bench", name, "--tokens", "40", "--format", "json").stdout)
        assert [document[key] for key in ("model_name", "engine", "backend")] == ["writer:1", "o/ollama", "ollama"]
        assert document["tokens"] > 0
        assert document["tokens_per_second"] == pytest.approx(400)
        assert document["time_to_first_token_ms"] > 0
        assert document["load_seconds"] is not None
    assert dict(engine.residents) == before
    assert lab.sent().count("POST /api/generate") == 2 * 5, "one to warm up, three of one token, and the one that counts"
    text = lab.run("bench", "writer:1").output
    assert "tokens/s" in text
    assert "first token after" in text


def test_a_bench_of_what_the_engine_itself_counts_no_time_of_is_by_the_clock(lab: Lab) -> None:
    document = json.loads(lab.run("bench", "org/small", "--format", "json").stdout)
    assert document["engine"] == "v/vllm"
    assert document["tokens_per_second"] > 0


def test_a_bench_of_what_is_not_resident_loads_nothing_and_says_so(lab: Lab) -> None:
    lab.want(WRITER)
    result = lab.run("bench", "writer:1")
    assert result.exit_code == 1
    assert "is resident nowhere, and bench loads nothing" in result.stderr
    assert lab.fleet.engines["o/ollama"].residents == {}


def test_top_shows_cards_and_models_once_in_a_pipe_and_writes_no_state(lab: Lab) -> None:
    lab.want(WRITER)
    result = lab.run("top", "--once")
    assert result.exit_code == 0
    for text in ("o/0", "org/small", "v/vllm"):
        assert text in result.output
    lab.fleet.engines["s/swap"].kill()
    assert "✗ s/swap" in lab.run("top").output
    assert not lab.state.exists()
