"""A shape of the catalogue has the terms of a file of that shape, with an interval for what its name does not say of the weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from vram.more_models import MORE
from vram.shapes import Model, keys_of, transformer, write
from vram.truth_models import truth_model

from reconciler.fleet import MIB, EngineKind
from reconciler.gguf import read_model
from reconciler.vram import CACHE_TYPES, Family, ListedShape, Quantisation, RunSettings, Shape, check_shape, geometry_of, predict
from reconciler.workspace import load_catalogue

CATALOGUE = load_catalogue()
OLLAMA = EngineKind.OLLAMA
LISTED = {name: listed for (kind, name) in CATALOGUE.models if (listed := CATALOGUE.listed(kind, name)) is not None}
Q8 = CACHE_TYPES["q8_0"]
WAYS = (
    RunSettings(8192, 1),
    RunSettings(32768, 2, Q8, Q8, ubatch=1024, build=10760),
    RunSettings(4096, 1, flash_attention=False),
    RunSettings(16384, 1, split=(1, 1)),
)


def _coder() -> Model:
    keys = keys_of(layers=24, embedding=896, heads=14, kv_heads=2, ff=4864, context=32768)
    return transformer("qwen2", keys, 151936, tied=True, bias=("attn_q", "attn_k", "attn_v"))


def _model(name: str) -> Model:
    own = {"qwen2.5-coder:0.5b": _coder, "gemma2:9b": MORE["gemma2-9b"]}
    return own[name]() if name in own else truth_model(name)


@pytest.mark.parametrize("settings", WAYS, ids=["f16", "q8_0", "plain", "split"])
@pytest.mark.parametrize(
    ("listed", "file"),
    [
        ("llama3.1:latest", "llama-8b"), ("llama3.1:70b", "llama-70b"), ("llama3.2:1b", "llama-1b"), ("mixtral:8x7b", "mixtral-8x7b"),
        ("qwen2.5-coder:7b", "qwen2-7b"), ("qwen2.5-coder:0.5b", "qwen2.5-coder:0.5b"), ("gemma2:9b", "gemma2:9b"),
    ],
)  # fmt: skip
def test_its_terms_are_those_of_a_file_of_the_same_shape(listed: str, file: str, settings: RunSettings, tmp_path: Path) -> None:
    of_file = geometry_of(read_model(write(tmp_path / "model.gguf", _model(file))).header)
    shape = replace(LISTED[listed], quantisation=Quantisation.Q4_K_M).geometry()
    assert predict(shape, settings).cards == predict(of_file, settings).cards
    assert shape.context == of_file.context


@pytest.mark.parametrize(
    ("name", "mebibytes"),
    [("llama3.1:latest", 4403.49), ("llama3.2:3b", 1918.35), ("qwen2.5-coder:14b", 8148.38)],
)
def test_weights_are_those_that_engines_logged_of_the_real_files(name: str, mebibytes: float) -> None:
    card = predict(LISTED[name].geometry(), RunSettings(8192, 4)).cards[0]
    assert abs(card.weights / MIB - mebibytes) < 0.01


def test_a_file_quantised_in_the_other_four_bits_lies_within_the_interval() -> None:
    """Llama 3.1 8B as Q4_0, 4156.0 MiB of a card by an engine's log, where the name stands for Q4_K_M; and the other way round."""
    for quantisation, mebibytes in ((Quantisation.Q4_K_M, 4156.0), (Quantisation.Q4_0, 4403.49)):
        listed = replace(LISTED["llama3.1:latest"], quantisation=quantisation)
        weights = predict(listed.geometry(), RunSettings(8192)).cards[0].weights
        assert abs(weights - mebibytes * MIB) <= listed.slack(weights)


@pytest.mark.parametrize("name", sorted(name for name in LISTED if CATALOGUE.models[OLLAMA, name].vram is not None))
def test_what_people_report_lies_between_the_file_alone_and_all_that_a_short_context_takes(name: str) -> None:
    """None of them says a context; most are the size of the file (`ollama list`), without cache, compute and process."""
    listed, reported = LISTED[name], CATALOGUE.models[OLLAMA, name].vram
    geometry = listed.geometry()
    file = sum(tensor.bytes for tensor in geometry.tensors.values())
    high = listed.widened(predict(geometry, RunSettings(4096, 1, build=10760))).cards[0].high
    assert reported is not None
    assert high is not None
    assert file - listed.slack(file) <= reported <= high


def test_only_weights_widen_the_interval_and_no_term_moves() -> None:
    listed = LISTED["llama3.1:latest"]
    found = predict(listed.geometry(), RunSettings(8192, split=(1, 1)))
    for card, wide in zip(found.cards, listed.widened(found).cards, strict=True):
        assert (wide.total, card.low - wide.low) == (card.total, listed.slack(card.weights))
        assert card.high is not None
        assert wide.high == card.high + listed.slack(card.weights)
    assert listed.widened(found).source == "catalogue"


def test_every_shape_is_computed_whole_and_says_its_source() -> None:
    for listed in LISTED.values():
        assert predict(listed.geometry(), RunSettings(4096, 1)).unknown == ()
        assert "/" in listed.shape.origin
    assert {listed.shape.name for listed in LISTED.values()} == set(CATALOGUE.shapes)


def test_a_shape_that_is_none_is_said() -> None:
    wrong = Shape("x", Family.LLAMA, 600, 64, 1, 1, 64, 64, 64, 64)
    assert check_shape(wrong) is not None
    assert check_shape(replace(wrong, blocks=2)) is None
    assert ListedShape(replace(wrong, blocks=2), Quantisation.Q4_0).geometry().blocks == 2
