"""What Ollama 0.34.0 gives llama-server, by what is asked and what is known of the server (its server/sched.go, llm/llama_server.go)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from vram.test_vram_told import shown

from reconciler.fleet import GIB
from reconciler.vram import (
    REFERENCE_BUILD,
    Geometry,
    OllamaServer,
    default_context,
    fact_of,
    geometry_of,
    header_of_fact,
    header_of_show,
    leaves_out_arrays,
    ollama_server,
    ollama_settings,
    predict,
    ram_bytes,
)

SERVER = OllamaServer(REFERENCE_BUILD, 4096)


def gemma(**changed: Any) -> Geometry:
    return replace(geometry_of(header_of_show(shown("gemma_plain"))), **changed)


@pytest.mark.parametrize(
    ("version", "build"),
    [("0.34.0", 10760), ("0.34.7-rc1", 10760), ("0.33.2", 10488), ("0.32.0", 9888), ("0.12.3", 9000), ("1.2.0", 10760), ("0.0.0", 10760),
     (None, 10760), ("nonsense", 10760)],
)  # fmt: skip
def test_a_release_stands_for_a_build_of_llama_cpp(version: str | None, build: int) -> None:
    assert ollama_server(version, {}, None, ()).build == build


@pytest.mark.parametrize(("total", "context"), [(None, None), (8 * GIB, 4096), (23 * GIB, 32768), (24 * GIB, 32768), (48 * GIB, 262144)])
def test_the_default_context_goes_by_the_memory_of_all_cards(total: int | None, context: int | None) -> None:
    assert default_context(total) == context
    assert ollama_server("0.34.0", {}, total, ()).context == context
    assert ollama_server("0.34.0", {"OLLAMA_CONTEXT_LENGTH": "2048"}, total, ()).context == 2048


@pytest.mark.parametrize(
    ("capabilities", "flash"), [(((8, 6),), True), (((6, 1),), True), (((5, 2),), False), (((8, 6), (7, 2)), False), ((None,), True)]
)
def test_flash_attention_is_on_where_every_card_can_and_as_the_environment_says(capabilities: Any, flash: bool) -> None:
    assert ollama_server("0.34.0", {}, None, capabilities).flash_attention is flash
    assert ollama_server("0.34.0", {"OLLAMA_FLASH_ATTENTION": "0"}, None, capabilities).flash_attention is False
    assert ollama_server("0.34.0", {"OLLAMA_FLASH_ATTENTION": "1"}, None, capabilities).flash_attention is True


def test_the_cache_holds_the_context_times_num_parallel_in_streams_of_their_own() -> None:
    server = ollama_server("0.34.0", {"OLLAMA_NUM_PARALLEL": "4", "OLLAMA_KV_CACHE_TYPE": "q8_0"}, 8 * GIB, ((8, 6),))
    settings = ollama_settings(server, gemma(), 2048)
    assert settings is not None
    assert (settings.requested, settings.streams, settings.key_type.name, settings.value_type.name) == (8192, 4, "q8_0", "q8_0")


def test_an_embedding_model_and_some_families_get_one_slot() -> None:
    server = replace(SERVER, parallel=4)
    for model, embedding in ((gemma(), True), (gemma(architecture="qwen3next"), False)):
        settings = ollama_settings(server, model, 2048, embedding=embedding)
        assert settings is not None
        assert settings.parallel == 1


def test_a_context_is_no_longer_than_the_model_was_trained_for() -> None:
    settings = ollama_settings(SERVER, gemma(context=1024), 8192)
    assert settings is not None
    assert settings.context == 1024


def test_without_a_context_that_anybody_knows_there_are_no_settings() -> None:
    assert ollama_settings(replace(SERVER, context=None), gemma(), None) is None


@pytest.mark.parametrize(
    ("context", "parallel", "flash", "embedding", "asked", "batch"),
    [
        (4096, 1, True, False, None, 512),
        (4096, 2, True, False, None, 1024),
        (32768, 1, True, False, None, 1024),
        (32768, 2, True, False, None, 2048),
        (32768, 1, False, False, None, 512),
        (8192, 1, True, False, 64, 64),
        (1024, 4, True, True, None, 1024),
        (8192, 1, True, True, None, 2048),
    ],
)
def test_an_automatic_batch_grows_with_the_context(
    context: int, parallel: int, flash: bool, embedding: bool, asked: int | None, batch: int
) -> None:
    server = replace(SERVER, parallel=parallel, flash_attention=flash)
    settings = ollama_settings(server, gemma(), context, asked, embedding=embedding)
    assert settings is not None
    assert settings.ubatch == batch


def test_a_fact_is_the_header_without_the_vocabulary_and_gives_the_same_need() -> None:
    header = header_of_show(shown("gemma_verbose"))
    fact = fact_of(header)
    settings = ollama_settings(SERVER, gemma(), 4096)
    assert settings is not None
    assert predict(geometry_of(header_of_fact(fact)), settings) == predict(geometry_of(header), settings)
    assert not [key for key in fact.keys if key.startswith("tokenizer.")]


def test_numbers_that_json_cannot_hold_are_left_out_of_a_fact() -> None:
    document = shown("gemma_plain")
    document["model_info"] |= {"gemma3.a": float("nan"), "gemma3.b": float("inf"), "gemma3.c": 2**70, "gemma3.d": [1.0, float("inf")]}
    assert not {"gemma3.a", "gemma3.b", "gemma3.c", "gemma3.d"} & set(fact_of(header_of_show(document)).keys)


def test_only_an_answer_without_arrays_of_the_architecture_is_worth_asking_for_in_full() -> None:
    assert leaves_out_arrays(shown("tiny_arrays_plain"))
    assert not leaves_out_arrays(shown("gemma_plain"))  # it lacks the vocabulary only


def test_on_the_cpu_all_terms_are_in_ram() -> None:
    settings = ollama_settings(SERVER, gemma(), 4096, offloaded=0, cards=0)
    assert settings is not None
    found = predict(gemma(), settings)
    assert found.cards[0].weights == found.cards[0].kv == found.cards[0].compute == 0
    assert found.host.total is not None
    assert ram_bytes(found, settings, beside=7) == found.host.total + 2**20 + 7  # compute within ±1 MiB
