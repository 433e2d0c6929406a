"""What fits is the largest that fits: one step more does not."""

from __future__ import annotations

from dataclasses import replace

import pytest
from vram.judge import geometry

from reconciler.vram import RunSettings, UnknownLayout, largest_context, largest_parallel, predict

GIB = 2**30


def total(name: str, settings: RunSettings) -> int:
    found = predict(geometry(name)[0], settings).cards[0].total
    assert found is not None
    return found


@pytest.mark.parametrize("name", ["llama-1b", "gemma3-4b", "qwen3-8b"])
@pytest.mark.parametrize("parallel", [None, 1, 4])
def test_the_largest_context_fits_and_256_tokens_more_do_not(name: str, parallel: int | None) -> None:
    shape = geometry(name)[0]
    start = RunSettings(256, parallel)
    room = total(name, replace(start, context=20_000))
    found = largest_context(shape, start, room)
    assert found is not None
    assert not found.bounded
    assert total(name, found.settings) <= room < total(name, replace(found.settings, context=found.settings.context + 256))


def test_a_context_is_never_larger_than_the_model_was_trained_for() -> None:
    shape = geometry("llama-1b")[0]
    found = largest_context(shape, RunSettings(1, 1), 10**15)
    assert found is not None
    assert (found.settings.context, found.bounded) == (shape.context, True)


def test_the_most_requests_fit_and_one_more_does_not() -> None:
    shape = geometry("llama-1b")[0]
    found = largest_parallel(shape, RunSettings(8192), 8 * GIB)
    assert found is not None
    more = replace(found.settings, parallel=found.settings.slots + 1)
    assert total("llama-1b", found.settings) <= 8 * GIB < total("llama-1b", more)


def test_nothing_fits_in_less_than_the_weights() -> None:
    shape = geometry("llama-1b")[0]
    assert largest_context(shape, RunSettings(1), 10**6) is None
    assert largest_parallel(shape, RunSettings(4096), 10**6) is None


def test_what_fits_of_an_unknown_graph_is_not_guessed() -> None:
    shape = replace(geometry("llama-1b")[0], architecture="nobody-knows", cache_known=False)
    with pytest.raises(UnknownLayout, match="cannot be computed"):
        largest_context(shape, RunSettings(1), GIB)
