"""What a model will take, by term, for people and as JSON (contract of `gpurec check`)."""

from __future__ import annotations

import json

from reconciler.fleet import format_bytes
from reconciler.views.escape import escape
from reconciler.views.style import Cell, Style, columns, joined
from reconciler.vram import CardNeed, Extras, Geometry, Largest, Prediction, RunSettings


def need_json(
    file: str,
    geometry: Geometry,
    settings: RunSettings,
    prediction: Prediction,
    room: int | None = None,
    largest: Largest | None = None,
    extras: Extras | None = None,
) -> str:
    """One JSON document: bytes on the card at the top level, an unknown term null, the host's apart."""
    card, host = prediction.cards[0], prediction.host
    document = {
        "format_version": "1.0",
        "file": file,
        "architecture": geometry.architecture,
        "weights_bytes": card.weights,
        "kv_bytes": card.kv,
        "state_bytes": card.state,
        "compute_bytes": card.compute,
        "fixed_bytes": card.fixed,
        "total_bytes": card.total,
        "low_bytes": card.low,
        "high_bytes": card.high,
        "host_bytes": host.total,
        "host": {"weights_bytes": host.weights, "kv_bytes": host.kv, "compute_bytes": host.compute},
        "source": prediction.source,
        "unknown": list(prediction.unknown),
        "settings": {
            "context": settings.context,
            "parallel": settings.parallel,
            "slots": settings.slots,
            "cells": settings.total_cells,
            "kv_cache": {"keys": settings.key_type.name, "values": settings.value_type.name},
            "flash_attention": settings.flash_attention,
            "batch": settings.ubatch,
            "engine_build": f"b{settings.build}",
        },
    }
    if extras is not None:
        document |= {"projector_bytes": extras.projector, "adapter_bytes": extras.adapters, "draft_bytes": extras.draft}
    if largest is not None:
        document["fit"] = {
            "vram_bytes": room,
            "context": largest.settings.context,
            "parallel": largest.settings.parallel,
            "bounded_by": "model" if largest.bounded else "vram",
            "high_fits": room is not None and card.high is not None and card.high <= room,
        }
    return json.dumps(document, indent=2) + "\n"


def need_text(
    file: str,
    geometry: Geometry,
    settings: RunSettings,
    prediction: Prediction,
    room: int | None = None,
    largest: Largest | None = None,
    extras: Extras | None = None,
    *,
    colour: bool = False,
    width: int = 100,
) -> str:
    """The terms of one card with their sum and interval, then the host's, then what is not known."""
    style = Style(colour, width)
    card, host = prediction.cards[0], prediction.host
    slots = f"{settings.slots} slots that share" if settings.one_stream else f"{settings.slots} × "
    cells = f"{slots}{' ' if settings.one_stream else ''}{settings.cells} cells"
    caches = settings.key_type.name if settings.key_type == settings.value_type else f"{settings.key_type.name}/{settings.value_type.name}"
    attention = "on" if settings.flash_attention else "off"
    lines = [
        style.heading(file),
        f"{escape(geometry.architecture)}, {len(geometry.layers)} layers, {cells}, cache {caches}, flash attention {attention}, "
        f"batch {settings.ubatch}, llama.cpp b{settings.build}",
        style.heading("On the card"),
        *columns(
            [
                _row("weights", card.weights),
                _row("KV cache", card.kv),
                _row("recurrent state", card.state),
                _row("compute", card.compute),
                _row("fixed", card.fixed, "context of the process, not yet measured here"),
                *([] if extras is None else _beside(extras)),
                _row("total", card.total, _interval(card.low, card.high)),
            ],
            style,
        ),
        style.heading("On the host"),
        *columns([_row("weights", host.weights), _row("KV cache", host.kv), _row("compute", host.compute)], style),
    ]
    if largest is not None and room is not None:
        lines += _largest(largest, card, room, style)
    lines += [style.paint(f"Unknown: {escape(one)}.", "yellow") for one in prediction.unknown]
    return joined(lines)


def _largest(largest: Largest, card: CardNeed, room: int, style: Style) -> list[str]:
    found = largest.settings
    slots = "" if found.parallel is None else f", {found.parallel} at a time"
    end = ", which is all that it was made for" if largest.bounded else ""
    lines = [f"{style.heading('Fits')} into {format_bytes(room)}: {found.context} tokens a request{slots}{end}."]
    if card.high is None or card.high > room:
        lines.append(style.paint("The upper end of the interval does not fit: leave some room, or measure it once.", "yellow"))
    return lines


def _row(name: str, count: int | None, note: str = "") -> list[Cell]:
    shown = Cell("unknown", "yellow", right=True) if count is None else Cell(format_bytes(count), right=True)
    return [Cell(f"  {name}"), shown, Cell(note, "dim")]


def _beside(extras: Extras) -> list[list[Cell]]:
    rows = (("projector", extras.projector, "its weights"), ("adapters", extras.adapters, ""), ("draft", extras.draft, "all of it"))
    return [_row(name, count, note) for name, count, note in rows if count != 0]


def _interval(low: int, high: int | None) -> str:
    return f"at least {format_bytes(low)}" if high is None else f"{format_bytes(low)} to {format_bytes(high)}"
