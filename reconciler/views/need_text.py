"""What a model will take, by term, for people and as JSON (contract of `gpurec check`)."""

from __future__ import annotations

import json

from reconciler.fleet import format_bytes
from reconciler.views.escape import escape
from reconciler.views.style import Cell, Style, columns, joined
from reconciler.views.terms_text import interval_words, largest_words, row, run_words, settings_json, term_rows
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
        "settings": settings_json(settings),
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
    lines = [
        style.heading(file),
        run_words(geometry.architecture, len(geometry.layers), settings),
        style.heading("On the card"),
        *columns(
            [
                *term_rows([card]),
                *([] if extras is None else _beside(extras)),
                row("total", [card.total], interval_words(card.low, card.high)),
            ],
            style,
        ),
        style.heading("On the host"),
        *columns([row("weights", [host.weights]), row("KV cache", [host.kv]), row("compute", [host.compute])], style),
    ]
    if largest is not None and room is not None:
        lines += _largest(largest, card, room, style)
    lines += [style.paint(f"Unknown: {escape(one)}.", "yellow") for one in prediction.unknown]
    return joined(lines)


def _largest(largest: Largest, card: CardNeed, room: int, style: Style) -> list[str]:
    lines = [f"{style.heading('Fits')} into {format_bytes(room)}: {largest_words(largest.settings, largest.bounded)}."]
    if card.high is None or card.high > room:
        lines.append(style.paint("The upper end of the interval does not fit: leave some room, or measure it once.", "yellow"))
    return lines


def _beside(extras: Extras) -> list[list[Cell]]:
    rows = (("projector", extras.projector, "its weights"), ("adapters", extras.adapters, ""), ("draft", extras.draft, "all of it"))
    return [row(name, [count], note) for name, count, note in rows if count != 0]
