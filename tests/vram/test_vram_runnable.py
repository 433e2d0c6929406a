"""What llama.cpp itself refuses to load is refused too, as its own answers over the same files were."""

from __future__ import annotations

import pytest
from vram.judge import geometry

from reconciler.vram import CACHE_TYPES, RunSettings, UnknownLayout, check_runnable


def run(keys: str, values: str, attention: bool) -> RunSettings:
    return RunSettings(4096, key_type=CACHE_TYPES[keys], value_type=CACHE_TYPES[values], flash_attention=attention)


@pytest.mark.parametrize(
    ("model", "keys", "values", "attention", "told"),
    [
        ("llama-1b", "q8_0", "q8_0", False, "only with flash attention"),
        ("grok-1", "f16", "q8_0", True, "only with flash attention"),
        ("deepseek-v2-lite", "f16", "q8_0", True, "one type of cache only"),
    ],
)
def test_vram_what_llama_cpp_does_not_load_has_no_figure(model: str, keys: str, values: str, attention: bool, told: str) -> None:
    with pytest.raises(UnknownLayout, match=told):
        check_runnable(geometry(model)[0], run(keys, values, attention))


@pytest.mark.parametrize(
    ("model", "keys", "values", "attention"),
    [
        ("llama-1b", "q8_0", "f16", False),
        ("grok-1", "q4_0", "f16", True),
        ("deepseek-v2-lite", "q8_0", "q8_0", True),
        ("stablelm-3b", "bf16", "f16", True),
        ("mamba-2.8b", "q4_0", "q4_0", True),
        ("mxbai-large", "q8_0", "q8_0", True),
    ],
)
def test_vram_what_llama_cpp_loads_is_not_refused(model: str, keys: str, values: str, attention: bool) -> None:
    check_runnable(geometry(model)[0], run(keys, values, attention))
