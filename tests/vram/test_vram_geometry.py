"""Geometry from a header: llama.cpp's defaults, and an error where a key is missing or makes no sense."""

from __future__ import annotations

import pytest

from reconciler.vram import CACHE_TYPES, Header, RunSettings, TensorInfo, UnknownLayout, geometry_of, predict
from reconciler.vram.cache import layer_cells
from reconciler.vram.tensors import F32, TENSOR_TYPES

BASE = {"block_count": 4, "embedding_length": 512, "context_length": 4096, "attention.head_count": 8, "feed_forward_length": 1024}


def header(architecture: str = "llama", *, without: str = "", **more: object) -> Header:
    keys = {**BASE, **{name.replace("__", "."): value for name, value in more.items()}}
    keys.pop(without, None)
    values = {"general.architecture": architecture, **{f"{architecture}.{name}": value for name, value in keys.items()}}
    return Header(values, {}, (TensorInfo("token_embd.weight", (512, 1000), F32),))  # type: ignore[arg-type]


def test_without_kv_heads_every_head_has_its_own() -> None:
    assert {layer.kv_heads for layer in geometry_of(header()).layers} == {8}


def test_a_head_is_as_wide_as_the_file_says_else_an_even_part_of_the_embedding() -> None:
    assert geometry_of(header()).layers[0].key_length == 64
    assert geometry_of(header(attention__key_length=128)).layers[0].key_length == 128


@pytest.mark.parametrize("name", ["block_count", "embedding_length", "context_length"])
def test_a_missing_key_is_an_unknown_layout_that_names_it(name: str) -> None:
    with pytest.raises(UnknownLayout, match=rf"llama\.{name} is missing"):
        geometry_of(header(without=name))


@pytest.mark.parametrize(
    "wrong",
    [
        {"block_count": 0}, {"block_count": 10**9}, {"block_count": "four"}, {"block_count": True}, {"embedding_length": 2**40},
        {"attention.head_count_kv": (8, 8)}, {"attention.head_count_kv": (8, 8, 8, -1)}, {"attention.key_length": 2**33},
        {"expert_used_count": 2**20},
        {"feed_forward_length": 2**31},
    ],
)  # fmt: skip
def test_a_senseless_value_is_an_unknown_layout(wrong: dict[str, object]) -> None:
    with pytest.raises(UnknownLayout):
        geometry_of(header(**{name.replace(".", "__"): value for name, value in wrong.items()}))


def test_a_file_without_an_architecture_is_an_unknown_layout() -> None:
    with pytest.raises(UnknownLayout, match="does not say its architecture"):
        geometry_of(Header({}, {}, ()))


@pytest.mark.parametrize(
    ("architecture", "sliding"),
    [("gemma2", "S.S."), ("gpt-oss", "S.S."), ("gemma3", "SSSS"), ("cohere2", "SSS."), ("smallthinker", ".SSS"), ("llama", "....")],
)
def test_which_layers_slide_follows_the_architecture(architecture: str, sliding: str) -> None:
    shape = geometry_of(header(architecture, attention__sliding_window=1024))
    assert "".join("S" if layer.sliding else "." for layer in shape.layers) == sliding


def test_a_pattern_in_the_file_wins() -> None:
    shape = geometry_of(header("gemma3", attention__sliding_window=1024, attention__sliding_window_pattern=(True, False, False, True)))
    assert [layer.sliding for layer in shape.layers] == [True, False, False, True]


def test_a_sliding_layer_holds_its_window_and_one_batch_for_each_sequence_of_its_stream() -> None:
    shape = geometry_of(header("gemma3", attention__sliding_window=1024))
    own = RunSettings(context=32768, parallel=4)
    shared = RunSettings(context=32768)
    assert layer_cells(shape, own, shape.layers[0]) == 1536
    assert layer_cells(shape, shared, shape.layers[0]) == 4 * 1024 + 512
    assert layer_cells(shape, RunSettings(context=600, parallel=1), shape.layers[0]) == 768


def test_hybrids_keep_a_state_where_they_keep_no_cache() -> None:
    shape = geometry_of(
        header(
            "jamba",
            attention__head_count_kv=(0, 0, 2, 0),
            ssm__conv_kernel=4,
            ssm__inner_size=1024,
            ssm__state_size=16,
            ssm__time_step_rank=32,
        )
    )
    assert [layer.cached for layer in shape.layers] == [False, False, True, False]
    assert [layer.recurrent for layer in shape.layers] == [True, True, False, True]


def test_a_row_is_a_whole_number_of_blocks_or_an_error() -> None:
    assert TENSOR_TYPES[12].row_bytes(512) == 288
    with pytest.raises(UnknownLayout, match="no whole number of q4_k blocks"):
        TENSOR_TYPES[12].row_bytes(300)


def test_a_quantised_cache_is_as_large_as_its_blocks() -> None:
    shape = geometry_of(header())
    f16 = predict(shape, RunSettings(context=4096, parallel=1)).cards[0].kv
    q8 = predict(shape, RunSettings(context=4096, parallel=1, key_type=CACHE_TYPES["q8_0"], value_type=CACHE_TYPES["q8_0"])).cards[0].kv
    assert f16 == 4 * 4096 * 2 * 512 * 2
    assert q8 == f16 * 34 // 64


def test_missing_tensors_leave_the_compute_buffer_unknown() -> None:
    said = predict(geometry_of(header()), RunSettings(context=4096, parallel=1))
    assert said.cards[0].compute is None
    assert said.cards[0].total is None
    assert said.unknown


def test_a_file_that_lacks_a_tensor_is_told_from_an_architecture_that_nobody_worked_out() -> None:
    assert predict(geometry_of(header("llama")), RunSettings(512)).unknown == (
        "the keys and tensors of the file do not make a graph of llama",
    )
    assert predict(geometry_of(header("gptj")), RunSettings(512)).unknown == ("the compute graph of gptj is not worked out here",)
