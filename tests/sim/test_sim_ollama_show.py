"""What the simulated Ollama tells of a file: tensors of the weights' size, and arrays only with `verbose`."""

from __future__ import annotations

import pytest

from reconciler.sim.ollama.library import Library, show
from reconciler.sim.spec import GIB, MIB, SimModel
from reconciler.vram import RunSettings, geometry_of, header_of_show, predict

LLAMA = SimModel("l:8b", 5 * GIB, weights=5 * GIB, kv_per_token=128 * 1024)
QWEN = SimModel("q:7b", 4 * GIB, weights=4 * GIB, kv_per_token=56 * 1024, layers=28, family="qwen2", embedding_length=3584)
BERT = SimModel("b", 700 * MIB, 700 * MIB, 0, layers=24, embedding=True, embedding_length=1024, family="bert", quantization="F16")
NOMIC = SimModel("n", 300 * MIB, 300 * MIB, 0, layers=12, embedding=True, embedding_length=768, family="nomic-bert", quantization="F16")


@pytest.mark.parametrize("model", [LLAMA, QWEN, BERT, NOMIC], ids=lambda model: model.name)
def test_the_weights_that_are_predicted_of_a_simulated_file_are_the_simulated_ones(model: SimModel) -> None:
    entry = Library([model]).find(model.name)
    assert entry is not None
    (card,) = predict(geometry_of(header_of_show(show(entry))), RunSettings(2048, 1)).cards
    assert abs(card.weights - model.weights) < (0.05 if model.embedding else 0.001) * model.weights
    assert card.kv == 2048 * model.kv_per_token
    assert card.high is not None


def test_the_vocabulary_comes_only_with_verbose() -> None:
    entry = Library([LLAMA]).find(LLAMA.name)
    assert entry is not None
    short, whole = (show(entry, verbose)["model_info"]["tokenizer.ggml.tokens"] for verbose in (False, True))  # type: ignore[index] # JSON
    assert short is None
    assert len(whole) > 5
