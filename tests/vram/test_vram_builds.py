"""Builds other than the one whose graphs are followed: what their logs said lies within the interval."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from vram.shapes import Model, keys_of, transformer, write
from vram.special_models import _attention, _mlp, _qwen_delta

from reconciler.cli.main import cli
from reconciler.gguf import read_model
from reconciler.vram import REFERENCE_BUILD, Geometry, RunSettings, geometry_of, ollama_server, predict
from reconciler.vram.builds import MIXED_INPUT, SLOT_ROWS, Backend, loads_head

MIB = 2**20
OLD = 5000
"""Long before servers reserved one output row a slot."""


def geometry(folder: Path, model: Model) -> Geometry:
    return geometry_of(read_model(write(folder / "m.gguf", model)).header)


def llama(layers: int, embedding: int, heads: int, kv_heads: int, ff: int, vocab: int) -> Model:
    return transformer("llama", keys_of(layers=layers, embedding=embedding, heads=heads, kv_heads=kv_heads, ff=ff), vocab)


QWEN2 = transformer("qwen2", keys_of(layers=28, embedding=3584, heads=28, kv_heads=4, ff=18944), 152064)
QWEN3 = transformer("qwen3", keys_of(layers=28, embedding=1024, heads=16, kv_heads=8, ff=3072, head=128), 151936, head_norms=True)


@pytest.mark.parametrize(
    ("model", "context", "attention", "kv", "compute"),
    [
        (llama(32, 4096, 32, 8, 14336, 128256), 8192, False, 1024.0, 560.0),
        (llama(32, 4096, 32, 32, 11008, 32000), 2048, False, 1024.0, 164.0),
        (llama(16, 2048, 32, 8, 8192, 128256), 1024, True, 32.0, 254.5),
        (QWEN2, 16384, False, 896.0, 956.0),
        (QWEN2, 16384, True, 896.0, 304.0),
        (QWEN3, 4096, False, 448.0, 298.75),
    ],
    ids=["llama-8b", "open-llama-7b", "llama-1b", "qwen2-7b", "qwen2-7b-flash", "qwen3-0.6b"],
)  # fmt: skip
def test_what_old_builds_logged_is_within_the_interval(
    tmp_path: Path, model: Model, context: int, attention: bool, kv: float, compute: float
) -> None:
    settings = RunSettings(context=context, parallel=1, flash_attention=attention, build=OLD)
    card = predict(geometry(tmp_path, model), settings, fixed=(0, 0, 0)).cards[0]
    assert card.kv == kv * MIB
    assert card.compute is not None
    assert card.high is not None
    logged = card.weights + (kv + compute) * MIB
    assert card.low <= logged <= card.high


def test_the_further_a_build_is_from_the_known_one_the_wider_the_interval(tmp_path: Path) -> None:
    shape = geometry(tmp_path, llama(4, 1024, 8, 2, 4096, 32000))
    settings = RunSettings(context=32768, parallel=1)
    widths = []
    for build in (REFERENCE_BUILD, REFERENCE_BUILD + 1000, OLD):
        card = predict(shape, replace(settings, build=build), fixed=(0, 0, 0)).cards[0]
        assert card.high is not None
        widths.append(card.high - card.low)
    assert widths[0] < widths[1] < widths[2]


def test_extra_files_are_added_whole_to_the_first_card(tmp_path: Path) -> None:
    shape = geometry(tmp_path, llama(4, 1024, 8, 2, 4096, 32000))
    settings = RunSettings(context=4096, parallel=1, split=(1, 1))
    plain, more = predict(shape, settings).cards, predict(shape, settings, extra=600 * MIB).cards
    assert (more[0].total or 0) - (plain[0].total or 0) == 600 * MIB
    assert more[1] == plain[1]


def test_a_measured_fixed_cost_takes_the_place_of_the_start_value(tmp_path: Path) -> None:
    shape = geometry(tmp_path, llama(4, 1024, 8, 2, 4096, 32000))
    card = predict(shape, RunSettings(context=4096, parallel=1), fixed=(310 * MIB, 311 * MIB, 312 * MIB)).cards[0]
    start = predict(shape, RunSettings(context=4096, parallel=1)).cards[0]
    assert card.fixed == 311 * MIB
    assert card.high is not None
    assert start.high is not None
    assert card.high - card.low < start.high - start.low


def qwen35_27b(*, head: bool) -> Model:
    """The shape of Qwen 3.5 to 3.8 27B, with the head that predicts a second token or without it."""
    model = _qwen_delta("qwen35", 64, 5120, 24, 4, 17408, 48)
    if head:
        model.keys |= {"block_count": 65, "nextn_predict_layers": 1}
        model.put("blk.64.attn_norm.weight", 5120)
        model.put("blk.64.post_attention_norm.weight", 5120)
        _attention(model, 64, 5120, 24, 4, 256)
        model.put("blk.64.attn_q.weight", 5120, 2 * 24 * 256)
        model.put("blk.64.attn_q_norm.weight", 256)
        model.put("blk.64.attn_k_norm.weight", 256)
        _mlp(model, 64, 5120, 17408)
        model.put("blk.64.nextn.eh_proj.weight", 10240, 5120)
        for norm in ("enorm", "hnorm", "shared_head_norm"):
            model.put(f"blk.64.nextn.{norm}.weight", 5120)
    return model


QWEN3_8B = transformer(
    "qwen3", keys_of(layers=36, embedding=4096, heads=32, kv_heads=8, ff=12288, head=128, context=40960), 151936, head_norms=True
)
GRANITE_8B = transformer(
    "granite",
    keys_of(
        layers=40, embedding=4096, heads=32, kv_heads=8, ff=12800, logit_scale=16.0, residual_scale=0.22, embedding_scale=12.0,
        attention__scale=0.0078125,
    ),
    100352,
)  # fmt: skip
PLAIN_27B, MTP_27B = qwen35_27b(head=False), qwen35_27b(head=True)
LOGGED = [
    ("Qwen 3 8B, b9849, Vulkan", QWEN3_8B, {"build": 9849, "context": 8192, "ubatch": 2048}, 384.04),
    ("Granite 4.1 8B, b9849, Vulkan", GRANITE_8B, {"build": 9849, "context": 8192, "ubatch": 2048}, 396.04),
    ("Qwen 3 8B, b10760, over RPC", QWEN3_8B, {"build": 10760, "context": 8192, "ubatch": 2048}, 416.0),
    ("Granite 4.1 8B, b10760, over RPC", GRANITE_8B, {"build": 10760, "context": 8192, "ubatch": 2048}, 428.0),
    ("Qwen 3.5 27B, CUDA", PLAIN_27B, {"build": 10760, "context": 32768, "ubatch": 512}, 154.02),
    ("Qwen 3.5 27B that drafts 3 tokens, CUDA", MTP_27B, {"build": 10760, "context": 32768, "ubatch": 512, "drafted": 3}, 284.04),
    ("Qwen 3 8B, b11434, over RPC", QWEN3_8B, {"build": 11434, "context": 8192, "ubatch": 2048}, 448.05),
]
"""What llama.cpp logged, or printed, as compute buffer of a load with one slot and flash attention."""


@pytest.mark.parametrize(("model", "how", "logged"), [row[1:] for row in LOGGED], ids=[row[0] for row in LOGGED])
def test_the_compute_buffer_is_that_of_the_build_to_a_mib(tmp_path: Path, model: Model, how: dict[str, int], logged: float) -> None:
    card = predict(geometry(tmp_path, model), RunSettings(parallel=1, **how)).cards[0]
    assert (card.compute or 0) / MIB == pytest.approx(logged, abs=0.1)


def test_another_backend_runs_the_graph_in_another_order(tmp_path: Path) -> None:
    shape = geometry(tmp_path, QWEN3_8B)
    run = RunSettings(context=8192, parallel=1, ubatch=2048, build=10760)
    cuda, vulkan = (predict(shape, replace(run, backend=one)).cards[0].compute for one in (Backend.CUDA, Backend.VULKAN))
    assert (cuda or 0) - (vulkan or 0) == 32 * MIB


def test_a_head_that_drafts_takes_its_weights_a_cache_states_to_go_back_to_and_a_buffer_of_its_own(tmp_path: Path) -> None:
    shape = geometry(tmp_path, MTP_27B)
    run = RunSettings(context=8192, parallel=1, ubatch=2048, build=10276)
    alone, both = predict(shape, run).cards[0], predict(shape, replace(run, drafted=2)).cards[0]
    assert (both.weights - alone.weights) / MIB == pytest.approx(251, abs=0.5)
    assert (both.kv or 0) - (alone.kv or 0) == 32 * MIB
    assert both.state == 3 * (alone.state or 0)
    assert ((both.compute or 0) - (alone.compute or 0)) / MIB == pytest.approx(520, abs=0.1)


def test_a_head_is_loaded_always_in_older_builds_and_later_only_where_it_drafts(tmp_path: Path) -> None:
    plain, shape = geometry(tmp_path, PLAIN_27B), geometry(tmp_path, MTP_27B)
    without = predict(plain, RunSettings(context=4096, parallel=1)).cards[0].weights
    for build, drafted, loaded in ((9849, 0, True), (10276, 0, False), (10276, 3, True)):
        weights = predict(shape, RunSettings(context=4096, parallel=1, build=build, drafted=drafted)).cards[0].weights
        assert (weights > without) is loaded, (build, drafted)
    assert not loads_head("glm4", 9849, 3)


def test_the_buffer_of_a_head_whose_graph_is_not_worked_out_is_unknown_and_said(tmp_path: Path) -> None:
    keys = keys_of(layers=4, embedding=1024, heads=8, kv_heads=2, ff=4096, nextn_predict_layers=1)
    shape = geometry(tmp_path, transformer("hy_v3", keys, 32000))
    found = predict(shape, RunSettings(context=4096, parallel=1, drafted=3))
    assert (found.cards[0].compute, found.cards[0].high) == (None, None)
    assert any("draft head" in one or "graph" in one for one in found.unknown)


@pytest.mark.parametrize(("version", "full"), [("0.31.9", True), ("0.32.0", False), ("0.33.0", False), ("0.34.0", False)])
def test_an_ollama_reserves_rows_as_the_llama_cpp_in_it(version: str, full: bool) -> None:
    build = ollama_server(version, {}, None, ()).build
    assert RunSettings(context=4096, parallel=1, build=build).full_rows is full


def test_between_two_builds_that_were_read_the_way_that_takes_more_counts() -> None:
    assert [SLOT_ROWS.holds(build) for build in (9453, 9460, 9464)] == [False, False, True]
    assert [MIXED_INPUT.holds(build) for build in (11393, 11397, 11401)] == [False, True, True]


def test_a_draft_that_is_the_models_own_file_counts_once_as_its_head(tmp_path: Path) -> None:
    write(tmp_path / "mtp.gguf", MTP_27B)
    (tmp_path / "link.gguf").symlink_to("mtp.gguf")

    def weights(*arguments: str) -> tuple[int, int]:
        found = CliRunner().invoke(cli, ["-C", str(tmp_path), "check", "mtp.gguf", "--context", "4096", "--format", "json", *arguments])
        assert found.exit_code == 0, found.output
        said = json.loads(found.stdout)
        return said["weights_bytes"], said["settings"]["drafted_tokens"]

    assert weights("--draft", "link.gguf") == weights("--mtp", "3")
    assert weights("--draft", "link.gguf", "--mtp", "2")[1] == 2


def test_drafting_without_a_head_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "m.gguf", QWEN3)
    found = CliRunner().invoke(cli, ["-C", str(tmp_path), "check", "m.gguf", "--mtp", "3"])
    assert found.exit_code == 1
    assert "nextn_predict_layers" in found.stderr
