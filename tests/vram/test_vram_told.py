"""What a real Ollama 0.34.0 told of models (data/ollama_*.json, vocabularies cut short) gives the need that their files give."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from vram.shapes import Model, keys_of, transformer, write

from reconciler.gguf import read_model
from reconciler.vram import LlamaMeta, RunSettings, UnknownLayout, geometry_of, header_of_show, meta_of_models, predict

DATA = Path(__file__).parent / "data"


def shown(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((DATA / f"ollama_0.34.0_show_{name}.json").read_text("utf-8"))
    return found


def tiny_moe() -> Model:
    keys = keys_of(
        layers=8, embedding=512, heads=8, kv_heads=4, ff=256, context=8192, head=64, attention__sliding_window=128, expert_count=8,
        expert_used_count=2, expert_feed_forward_length=512,
    )  # fmt: skip
    return transformer("qwen3moe", keys, 4096, experts={"count": 8, "width": 512}, head_norms=True)


def tiny_arrays() -> Model:
    """Head counts as arrays of eight, and a row of quantisations."""
    keys = keys_of(layers=8, embedding=512, heads=8, kv_heads=2, ff=1536, context=8192)
    model = transformer("llama", keys, 4096, tied=True)
    model.keys |= {"attention.head_count": [8] * 8, "attention.head_count_kv": [2] * 8}
    for il, kind in enumerate(("mxfp4", "iq4_xs", "bf16", "iq2_xxs", "q2_k", "q5_k")):
        model.put(f"blk.{il}.ffn_up.weight", 512, 1536, kind=kind)
    return model


@pytest.mark.parametrize(("name", "model"), [("tiny_moe_plain", tiny_moe()), ("tiny_arrays_verbose", tiny_arrays())])
@pytest.mark.parametrize("settings", [RunSettings(4096), RunSettings(2048, 4, flash_attention=False)])
def test_what_ollama_tells_gives_the_need_of_the_same_file(tmp_path: Path, name: str, model: Model, settings: RunSettings) -> None:
    of_file = predict(geometry_of(read_model(write(tmp_path / "model.gguf", model)).header), settings)
    assert predict(geometry_of(header_of_show(shown(name))), settings) == of_file


@pytest.mark.parametrize("name", ["gemma_plain", "gemma_verbose"])
def test_of_a_real_model_it_gives_what_check_says_of_the_file(name: str) -> None:
    """`gpurec check gemma.gguf --context 4096 --parallel 2` of the same file (gemma3 270m Q4_K_M, a5fd3b62…)."""
    found = predict(geometry_of(header_of_show(shown(name))), RunSettings(4096, 2))
    card = found.cards[0]
    assert (card.weights, card.kv, card.state, card.compute) == (246587904, 56623104, 0, 23093280)
    assert found.host.total == 188772384


def test_an_array_that_was_left_out_is_named_and_not_taken_for_missing() -> None:
    with pytest.raises(UnknownLayout, match=r"leaves out the array llama\.attention\.head_count") as error:
        header_of_show(shown("tiny_arrays_plain"))
    assert "verbose" in str(error.value.problems[0].hint)


@pytest.mark.parametrize(
    "lie",
    [
        {"tensors": None}, {"tensors": []}, {"model_info": None}, {"tensors": ["x"]},
        {"tensors": [{"name": "a", "type": "Q9_Z", "shape": [256]}]},
        {"tensors": [{"name": "a", "type": "F32", "shape": []}]}, {"tensors": [{"name": "a", "type": "F32", "shape": [-1]}]},
        {"tensors": [{"name": "a", "type": "F32", "shape": [1, 1, 1, 1, 1]}]}, {"tensors": [{"name": "a", "type": "F32", "shape": "x"}]},
        {"tensors": [{"name": "a", "type": "Q4_K", "shape": [100]}]}, {"tensors": [{"name": "a", "type": "F32", "shape": [2**40, 2**40]}]},
        {"tensors": [{"name": "a", "type": "F32", "shape": [1]}] * 2}, {"tensors": [{"name": 3, "type": "F32", "shape": [1]}]},
    ],
)  # fmt: skip
def test_a_document_that_makes_no_sense_is_an_unknown_layout(lie: dict[str, object]) -> None:
    with pytest.raises(UnknownLayout):
        header_of_show({**shown("gemma_plain"), **lie})


def test_llama_cpp_tells_the_weights_and_no_more() -> None:
    """As llama-server b10760 said of the same Gemma with `-c 512`."""
    meta = {
        "vocab_type": True,
        "n_vocab": 262144,
        "n_ctx": 512,
        "n_ctx_train": 32768,
        "n_embd": 640,
        "n_params": 268098176,
        "size": 246587904,
    }
    assert meta_of_models({"id": "gemma", "meta": meta}) == LlamaMeta(246587904, 262144, 640, 32768, 512)
    assert meta_of_models({"id": "gemma"}) is None
    assert meta_of_models({"meta": {"size": -1, "n_vocab": True}}) == LlamaMeta(None, None, None, None, None)
