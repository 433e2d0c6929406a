"""A Hugging Face checkpoint under vLLM: parameters against published counts, blocks by vLLM's own arithmetic, and what fits."""

from __future__ import annotations

import math
from contextlib import suppress
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.vram import UnknownLayout, VllmSettings, checkpoint_of, reservation, vllm_need
from reconciler.vram.reservation import loaded_bytes, request_bytes

GIB = 2**30


def config(kind: str, embedding: int, ff: int, layers: int, heads: int, kv: int, words: int, **more: Any) -> dict[str, Any]:
    return {
        "model_type": kind, "hidden_size": embedding, "intermediate_size": ff, "num_hidden_layers": layers, "num_attention_heads": heads,
        "num_key_value_heads": kv, "vocab_size": words, "torch_dtype": "bfloat16", "max_position_embeddings": 32768, **more,
    }  # fmt: skip


LLAMA = config("llama", 4096, 14336, 32, 32, 8, 128256)
DEEPSEEK = config("deepseek_v3", 7168, 18432, 61, 128, 128, 129280, kv_lora_rank=512, qk_rope_head_dim=64)
GEMMA2 = config("gemma2", 3584, 14336, 42, 16, 8, 256000, head_dim=256, sliding_window=4096)


@pytest.mark.parametrize(
    ("values", "published"),
    [
        (LLAMA, 8_030_261_248),
        (config("mistral", 4096, 14336, 32, 32, 8, 32000, sliding_window=4096), 7_241_732_096),
        (config("mixtral", 4096, 14336, 32, 32, 8, 32000, num_local_experts=8), 46_702_792_704),
        (config("qwen2", 3584, 18944, 28, 28, 4, 152064), 7_615_616_512),
        (config("qwen3", 4096, 12288, 36, 32, 8, 151936, head_dim=128), 8_190_735_360),
        (config("qwen3_moe", 2048, 6144, 48, 32, 4, 151936, head_dim=128, num_experts=128, moe_intermediate_size=768), 30_532_122_624),
        (GEMMA2, 9_241_705_984),
        (config("gemma3_text", 1152, 6912, 26, 4, 1, 262144, head_dim=256, sliding_window=512), 999_885_952),
        (config("phi3", 3072, 8192, 32, 32, 32, 32064), 3_821_079_552),
    ],
    ids=lambda one: one["model_type"] if isinstance(one, dict) else "",
)
def test_parameters_are_those_that_the_models_publish(values: dict[str, Any], published: int) -> None:
    assert checkpoint_of(values).parameters == published


def test_one_request_holds_whole_blocks_in_every_layer() -> None:
    found = checkpoint_of(LLAMA)
    row = 2 * 8 * 128 * 2
    assert request_bytes(found, VllmSettings(8192)) == 32 * 8192 * row
    assert request_bytes(found, VllmSettings(8193)) == 32 * 8208 * row
    assert request_bytes(found, VllmSettings(8192, cache="fp8")) == 32 * 8192 * row // 2
    assert request_bytes(found, VllmSettings(8192, cards=4)) == 32 * 8192 * row // 4
    assert request_bytes(found, VllmSettings(8192, cards=32)) == 32 * 8192 * row // 8, "a head is the least that a card holds"


def test_a_window_holds_its_tokens_those_of_a_batch_and_one_block_more() -> None:
    found = checkpoint_of(GEMMA2)
    row = 2 * 8 * 256 * 2
    assert found.windows[:2] == (4096, None)
    sliding = (math.ceil((4095 + 2048) / 16) + 1) * 16
    assert request_bytes(found, VllmSettings(32768)) == 21 * (sliding + 32768) * row
    assert request_bytes(found, VllmSettings(1024)) == 21 * (1024 + 16 + 1024) * row


def test_latent_attention_keeps_one_row_on_every_card() -> None:
    found = checkpoint_of(DEEPSEEK)
    assert request_bytes(found, VllmSettings(4096)) == request_bytes(found, VllmSettings(4096, cards=8)) == 61 * 4096 * 576 * 2


def test_weights_come_from_the_files_before_the_config() -> None:
    found = checkpoint_of(LLAMA)
    assert loaded_bytes(found, None) == 16_060_522_496
    assert loaded_bytes(found, 5 * GIB) == 5 * GIB
    assert loaded_bytes(checkpoint_of({**LLAMA, "torch_dtype": "float32"}), 8 * GIB) == 4 * GIB


@pytest.mark.parametrize(
    "values",
    [{**LLAMA, "quantization_config": {"quant_method": "awq"}}, {**LLAMA, "model_type": "novel"}, DEEPSEEK, {**LLAMA, "text_config": {}}],
)
def test_weights_that_nobody_counted_are_unknown_and_not_guessed(values: dict[str, Any]) -> None:
    need = vllm_need(checkpoint_of(values), None, VllmSettings(4096))
    assert (need.weights, need.total, need.high) == (None, None, None)
    assert "the weights of" in need.unknown[0]


def test_a_cache_of_an_unknown_type_is_unknown() -> None:
    need = vllm_need(checkpoint_of({**LLAMA, "model_type": "novel"}), 8 * GIB, VllmSettings(4096))
    assert (need.weights, need.kv, need.high) == (8 * GIB, None, None)


def test_the_text_part_of_a_model_that_sees_is_its_shape() -> None:
    found = checkpoint_of({"model_type": "gemma3", "torch_dtype": "bfloat16", "text_config": {**GEMMA2, "model_type": "gemma3_text"}})
    assert (found.kind, found.layers, found.cache_known, found.parameters) == ("gemma3_text", 42, True, None)


@pytest.mark.parametrize(
    ("total", "fits"),
    [(24 * GIB, True), (80 * GIB, True), (16 * GIB, False), (19 * GIB, None)],
)
def test_what_fits_into_the_reservation_is_said_only_where_it_is_sure(total: int, fits: bool | None) -> None:
    found, run = checkpoint_of(LLAMA), VllmSettings(8192)
    held = reservation(vllm_need(found, None, run), found, run, total)
    assert (held.fits, held.bytes) == (fits, math.ceil(total * Fraction(92, 100)))


@given(st.integers(1, 131072), st.sampled_from([1, 2, 4, 8]), st.integers(GIB, 200 * GIB), st.fractions(Fraction(1, 10), 1))
def test_more_context_needs_more_and_a_larger_card_never_fits_less(context: int, cards: int, total: int, share: Fraction) -> None:
    found = checkpoint_of(LLAMA)
    near, far = (vllm_need(found, None, VllmSettings(length, cards)) for length in (context, context + 16))
    assert near.total is not None
    assert far.total is not None
    assert near.low <= near.total <= (near.high or 0)
    assert far.total > near.total
    order = {False: 0, None: 1, True: 2}
    small, large = (reservation(near, found, VllmSettings(context, cards), size, share) for size in (total, 2 * total))
    assert order[small.fits] <= order[large.fits]


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({}, "no model_type"),
        ({"model_type": "llama"}, "no num_hidden_layers"),
        ({**LLAMA, "num_hidden_layers": 10**6}, "1024 is the most"),
        ({**LLAMA, "num_hidden_layers": 0}, "no count"),
        ({**LLAMA, "hidden_size": -1}, "no count"),
        ({**LLAMA, "hidden_size": 2**63}, "no count"),
        ({**LLAMA, "vocab_size": True}, "no count"),
        ({**LLAMA, "num_attention_heads": "32"}, "no count"),
        ({**LLAMA, "torch_dtype": "int3"}, "the dtype 'int3' is not known"),
        ({**LLAMA, "torch_dtype": ["bfloat16"]}, "is not known"),
    ],
)
def test_a_config_that_makes_no_model_is_refused(values: dict[str, Any], told: str) -> None:
    with pytest.raises(UnknownLayout, match=told):
        checkpoint_of(values)


def test_heads_that_do_not_divide_by_the_cards_are_refused() -> None:
    with pytest.raises(UnknownLayout, match="32 heads cannot be split over 3 cards"):
        vllm_need(checkpoint_of(LLAMA), None, VllmSettings(4096, cards=3))


ANYTHING = st.none() | st.integers() | st.text(max_size=5) | st.booleans() | st.lists(st.integers())


@given(st.dictionaries(st.sampled_from(sorted(LLAMA)), ANYTHING))
def test_any_config_is_a_shape_with_counts_or_refused(broken: dict[str, Any]) -> None:
    with suppress(UnknownLayout):
        found = checkpoint_of({**LLAMA, **broken})
        need = vllm_need(found, None, VllmSettings(found.context))
        assert min(found.layers, found.embedding, found.kv_heads, need.low) > 0
