"""What a plan computes of a real model, against what the card in software counts once the real Ollama has loaded it."""

from __future__ import annotations

from typing import Any

import pytest
from rigs import MIB, Bench

from reconciler.vram.predict import FIXED_HIGH

FIXED = FIXED_HIGH
"""What a plan adds for the process; a card in software loses nothing to it."""
OFF = 0.03
"""The upper end of what is computed: Ollama 0.34.0 runs llama.cpp b10760, and the graphs are those of b11434."""


@pytest.mark.parametrize(
    ("context", "variables"),
    [
        (None, {"OLLAMA_FLASH_ATTENTION": "0"}),
        (2048, {"OLLAMA_FLASH_ATTENTION": "1"}),
        (8192, {"OLLAMA_FLASH_ATTENTION": "1"}),
        (2048, {"OLLAMA_FLASH_ATTENTION": "1", "OLLAMA_NUM_PARALLEL": "4"}),
        (4096, {"OLLAMA_FLASH_ATTENTION": "1", "OLLAMA_KV_CACHE_TYPE": "q8_0"}),
    ],
    ids=["default without flash attention", "2048", "8192", "4 slots", "q8_0"],
)
def test_a_computed_need_holds_what_the_card_loses_and_little_more(bench: Bench, context: int | None, variables: dict[str, str]) -> None:
    rig = bench.rig("ollama", 3072 * MIB, **variables)
    engine: dict[str, Any] = {"url": rig.recorder.url, "env": {"OLLAMA_CONTEXT_LENGTH": "2048", **variables}}
    rig.workspace.declare({"ollama": engine}, (3072 * MIB,), 4096 * MIB)
    rig.workspace.want({"gemma": {"engine": "ollama"} | ({} if context is None else {"context": context})})
    (computed,) = [step for step in rig.workspace.plan(2)["steps"] if step["action"] == "load"]
    assert computed["vram_source"] == "computed"
    rig.workspace.apply(0)
    rig.workspace.expect_nothing_to_do()
    (card,) = rig.cards
    print(computed["vram_bytes"] - FIXED, card.used)
    assert card.used <= computed["vram_bytes"] - FIXED <= (1 + OFF) * card.used
