"""The terms of a need in words: rows of a table, and the way that a model is run. Shared by what is told of files and of models."""

from __future__ import annotations

from collections.abc import Sequence

from reconciler.fleet import format_bytes
from reconciler.views.escape import escape
from reconciler.views.style import Cell
from reconciler.vram import CardNeed, RunSettings


def run_words(architecture: str, layers: int, settings: RunSettings) -> str:
    """`llama, 32 layers, 2 × 8192 cells, cache f16, flash attention on, batch 512, llama.cpp b11434`."""
    slots = f"{settings.slots} slots that share" if settings.one_stream else f"{settings.slots} × "
    cells = f"{slots}{' ' if settings.one_stream else ''}{settings.cells} cells"
    caches = settings.key_type.name if settings.key_type == settings.value_type else f"{settings.key_type.name}/{settings.value_type.name}"
    attention = "on" if settings.flash_attention else "off"
    return (
        f"{escape(architecture)}, {layers} layers, {cells}, cache {caches}, flash attention {attention}, "
        f"batch {settings.ubatch}, {f'{settings.drafted} tokens drafted (MTP), ' if settings.drafted else ''}llama.cpp b{settings.build}"
        f"{f' on {settings.on}' if settings.on else ''}"
    )


def settings_json(settings: RunSettings) -> dict[str, object]:
    """How a model is run, with the names of the options."""
    return {
        "context": settings.context,
        "parallel": settings.parallel,
        "slots": settings.slots,
        "cells": settings.total_cells,
        "kv_cache": {"keys": settings.key_type.name, "values": settings.value_type.name},
        "flash_attention": settings.flash_attention,
        "batch": settings.ubatch,
        "drafted_tokens": settings.drafted,
        "backend": settings.on,
        "engine_build": f"b{settings.build}",
    }


def largest_words(settings: RunSettings, bounded: bool) -> str:
    """The largest way to run a model that fits: `20224 tokens a request, 4 at a time, which is all that it was made for`."""
    slots = "" if settings.parallel is None else f", {settings.parallel} at a time"
    return f"{settings.context} tokens a request{slots}{', which is all that it was made for' if bounded else ''}"


def interval_words(low: int, high: int | None) -> str:
    """The ends of an interval; without an upper one, what it is at least."""
    return f"at least {format_bytes(low)}" if high is None else f"{format_bytes(low)} to {format_bytes(high)}"


def row(name: str, counts: Sequence[int | None], note: str = "") -> list[Cell]:
    """A term: its name, its bytes on each card (None: unknown), and what to say of it."""
    return [Cell(f"  {name}"), *(_bytes(count) for count in counts), Cell(note, "dim")]


def term_rows(cards: Sequence[CardNeed]) -> list[list[Cell]]:
    """The terms of one or more cards; the first card's process is noted."""
    return [
        row("weights", [card.weights for card in cards]),
        row("KV cache", [card.kv for card in cards]),
        row("recurrent state", [card.state for card in cards]),
        row("compute", [card.compute for card in cards]),
        row("fixed", [card.fixed for card in cards], "context of the process, not yet measured here"),
    ]


def _bytes(count: int | None) -> Cell:
    return Cell("unknown", "yellow", right=True) if count is None else Cell(format_bytes(count), right=True)
