"""Builds other than the one whose graphs are followed: what their logs said lies within the interval."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from vram.shapes import Model, keys_of, transformer, write

from reconciler.gguf import read_model
from reconciler.vram import REFERENCE_BUILD, Geometry, RunSettings, geometry_of, predict

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
