"""What a checkpoint takes under vLLM: the terms that must fit into its reservation, for people and as JSON."""

from __future__ import annotations

import json

from reconciler.fleet import format_bytes, format_ratio
from reconciler.views.escape import escape
from reconciler.views.style import Cell, Style, columns, joined
from reconciler.vram import Checkpoint, Reservation, VllmNeed, VllmSettings


def reservation_json(
    file: str, of: Checkpoint, settings: VllmSettings, need: VllmNeed, weight_source: str | None, held: Reservation | None
) -> str:
    """One JSON document with the keys of `check FILE.gguf`: bytes on each card, an unknown term null."""
    document: dict[str, object] = {
        "format_version": "1.0",
        "file": file,
        "architecture": of.kind,
        "weights_bytes": need.weights,
        "kv_bytes": need.kv,
        "state_bytes": 0 if need.kv is not None else None,
        "compute_bytes": need.compute,
        "fixed_bytes": need.fixed,
        "total_bytes": need.total,
        "low_bytes": need.low,
        "high_bytes": need.high,
        "host_bytes": None,
        "source": "computed",
        "weights_from": weight_source or ("config" if need.weights is not None else None),
        "unknown": list(need.unknown),
        "settings": {
            "engine": "vllm",
            "context": settings.context,
            "tensor_parallel": settings.cards,
            "batch": settings.batch,
            "kv_cache": settings.cache,
        },
    }
    if held is not None:
        document["reservation"] = {
            "card_bytes": held.total,
            "gpu_memory_utilization": float(held.utilization),
            "reserved_bytes": held.bytes,
            "fits": held.fits,
            "cache_tokens": held.tokens,
        }
    return json.dumps(document, indent=2) + "\n"


def reservation_text(
    file: str,
    of: Checkpoint,
    settings: VllmSettings,
    need: VllmNeed,
    weight_source: str | None,
    held: Reservation | None,
    *,
    colour: bool = False,
    width: int = 100,
) -> str:
    """The terms of one card with their sum and interval, and whether the reservation holds them."""
    style = Style(colour, width)
    cards = "one card" if settings.cards == 1 else f"each of {settings.cards} cards"
    source = weight_source or "counted from the config"
    interval = f"{format_bytes(need.low)} to {format_bytes(need.high)}" if need.high is not None else f"at least {format_bytes(need.low)}"
    lines = [
        style.heading(escape(file, 4000)),
        f"{escape(of.kind)}, {of.layers} layers, one request of {settings.context} tokens, cache {settings.cache}, "
        f"batch {settings.batch}, vLLM on {cards}",
        style.heading(f"On {cards}"),
        *columns(
            [
                _row("weights", need.weights, source if need.weights is not None else ""),
                _row("KV cache", need.kv, "of one request of full length"),
                _row("activations", need.compute, "an estimate: vLLM measures them as it starts"),
                _row("fixed", need.fixed, "context, libraries and captured graphs, not yet measured here"),
                _row("total", need.total, interval),
            ],
            style,
        ),
    ]
    if held is not None:
        lines.append(_held(held, style))
    lines += [style.paint(f"Unknown: {escape(one)}.", "yellow") for one in need.unknown]
    return joined(lines)


def _held(held: Reservation, style: Style) -> str:
    whole = (
        f"reserves {format_bytes(held.bytes)} of {format_bytes(held.total)} ({format_ratio(float(held.utilization))}), whatever the model"
    )
    words, look = {
        True: ("It fits", "green"),
        False: ("It does not fit", "red"),
        None: ("Whether it fits is not sure", "yellow"),
    }[held.fits]
    tokens = "" if held.tokens is None or held.fits is False else f"; about {held.tokens:,} tokens of cache"
    return f"{style.paint(words, look)}: vLLM {whole}{tokens}."


def _row(name: str, count: int | None, note: str = "") -> list[Cell]:
    shown = Cell("unknown", "yellow", right=True) if count is None else Cell(format_bytes(count), right=True)
    return [Cell(f"  {name}"), shown, Cell(note, "dim")]
