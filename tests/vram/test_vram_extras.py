"""What is loaded beside a model: projector, adapters, draft."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from vram.shapes import Model, write
from vram.truth_models import truth_model

from reconciler.cli.main import cli
from reconciler.gguf import read_model
from reconciler.vram import RunSettings, geometry_of, predict

MIB = 2**20


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path / "m.gguf", truth_model("llama-8b"))
    write(tmp_path / "small.gguf", truth_model("llama-1b"))
    lora = Model("llama", {"block_count": 1, "general.type": "adapter"}, quant="f16")
    lora.put("blk.0.attn_q.weight.lora_a", 4096, 16, kind="f16")
    lora.put("blk.0.attn_q.weight.lora_b", 16, 4096, kind="f16")
    lora.put("blk.0.attn_norm.weight", 4096, kind="f32")
    write(tmp_path / "lora.gguf", lora)
    clip = Model("clip", {"block_count": 1}, quant="f16")
    clip.put("v.blk.0.attn_q.weight", 1024, 1024, kind="f16")
    write(tmp_path / "mmproj.gguf", clip)
    return tmp_path


def check(folder: Path, *arguments: str) -> Result:
    return CliRunner().invoke(cli, ["-C", str(folder), "check", "m.gguf", "--context", "4096", "--parallel", "2", *arguments])


def said(folder: Path, *arguments: str) -> dict[str, int]:
    result = check(folder, *arguments, "--format", "json")
    assert result.exit_code == 0, result.output
    found: dict[str, int] = json.loads(result.stdout)
    return found


def test_an_adapter_adds_the_bytes_of_its_pairs(folder: Path) -> None:
    alone, both = said(folder), said(folder, "--lora", "lora.gguf", "--lora", "lora.gguf")
    assert both["adapter_bytes"] == 2 * 2 * 16 * 4096 * 2
    for key in ("total_bytes", "low_bytes", "high_bytes"):
        assert both[key] - alone[key] == both["adapter_bytes"]
    assert both["weights_bytes"] == alone["weights_bytes"]


def test_a_draft_adds_all_but_a_second_process_with_the_targets_context_and_slots(folder: Path) -> None:
    run = RunSettings(context=4096, parallel=2)
    card = predict(geometry_of(read_model(folder / "small.gguf").header), run).cards[0]
    alone, both = said(folder, "--kv-cache", "q8_0"), said(folder, "--kv-cache", "q8_0", "--draft", "small.gguf")
    assert card.total is not None
    assert both["draft_bytes"] == card.total - card.fixed == both["total_bytes"] - alone["total_bytes"]


def test_of_a_projector_the_weights_are_known_and_the_sum_is_not(folder: Path) -> None:
    alone, both = said(folder), said(folder, "--mmproj", "mmproj.gguf")
    assert both["projector_bytes"] == 2 * MIB
    assert both["low_bytes"] - alone["low_bytes"] == 2 * MIB
    assert (both["total_bytes"], both["high_bytes"]) == (None, None)
    text = check(folder, "--mmproj", "mmproj.gguf", "--lora", "lora.gguf").stdout
    assert "compute buffer of the projector" in text
    assert "adapters" in text


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--mmproj", "small.gguf"), "this is no projector"),
        (("--lora", "small.gguf"), "this is no adapter"),
        (("--draft", "mmproj.gguf"), "mmproj.gguf"),
        (("--draft", "small.gguf", "--fit-context", "--vram", "24GiB"), "--fit-context is of a file alone"),
    ],
)
def test_a_file_that_is_something_else_is_refused_by_its_name(folder: Path, arguments: tuple[str, ...], told: str) -> None:
    result = check(folder, *arguments)
    assert result.exit_code == 1
    assert told in result.stderr
    assert arguments[1] in result.stderr or "fit-context" in told


def test_a_model_of_the_fleet_has_none_of_these_options(folder: Path) -> None:
    result = CliRunner().invoke(cli, ["-C", str(folder), "check", "llama3.1", "--lora", "lora.gguf"])
    assert (result.exit_code, "--lora does not go with this" in result.stderr) == (1, True)
