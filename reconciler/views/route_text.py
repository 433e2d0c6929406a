"""Where a request for a model should go, for people and as JSON."""

from __future__ import annotations

import json

from reconciler.fleet import format_bytes, format_duration, format_ratio
from reconciler.health.routes import Route, RouteChoice
from reconciler.views.escape import escape
from reconciler.views.style import Cell, Style, bounded, columns, joined, more


def route_text(found: Route, *, colour: bool = False, width: int = 100) -> str:
    """The engine to use, then every engine with yes or no and why."""
    style = Style(colour, width)
    won = found.winner
    if won is None:
        why = "no engine has the room" if found.exceeds else "no engine can serve it"
        lines = [f"{style.heading(escape(found.model))}: {style.paint(f'nowhere: {why}', 'red')}"]
    else:
        takes = "" if found.seconds is None else f", about {format_duration(found.seconds)} for {found.tokens:,} tokens by rule of thumb"
        asked = f"; ask it for {escape(won.served_name)}" if won.served_name != found.model else ""
        lines = [f"{style.heading(escape(found.model))} → {style.paint(escape(won.engine), 'green')}: {escape(won.message)}{takes}{asked}"]
    shown, left = bounded(found.choices)
    return joined([*lines, *columns([_row(one) for one in shown], style), *more(left, style, "engines")])


def _row(one: RouteChoice) -> list[Cell]:
    return [
        Cell(f"{'✓' if one.serves else '✗'} {one.engine}", "green" if one.serves else "red"),
        Cell(one.kind.value),
        Cell(f":{one.port}"),
        Cell("" if one.vram_bytes is None else format_bytes(one.vram_bytes), right=True),
        Cell(f"{format_ratio(one.used_fraction)} used", right=True),
        Cell("" if one.busy is None else f"{format_ratio(one.busy)} busy", right=True),
        Cell(one.message if one.message else one.code),
    ]


def route_json(found: Route) -> str:
    """One JSON document: the decision at the top level, an unknown null, and every engine beside it."""
    won = found.winner
    seconds = found.seconds
    document = {
        "format_version": "1.0",
        "model_name": found.model,
        "backend": None if won is None else won.kind.value,
        "engine": None if won is None else won.engine,
        "port": None if won is None else won.port,
        "served_name": None if won is None else won.served_name,
        "reason": ("no engine has the room" if found.exceeds else "no engine can serve it") if won is None else won.message,
        "gpu_id": won.gpus[0] if won is not None and len(won.gpus) == 1 else None,
        "estimated_duration_ms": None if seconds is None else round(seconds * 1000),
        "tokens": found.tokens,
        "will_exceed_memory": found.exceeds,
        "candidates": [
            {
                "engine": one.engine,
                "backend": one.kind.value,
                "port": one.port,
                "served_name": one.served_name,
                "serves": one.serves,
                "verdict": one.verdict,
                "reason": {"code": one.code, "message": one.message},
                "gpus": list(one.gpus),
                "vram_bytes": one.vram_bytes,
                "used_fraction": round(one.used_fraction, 4),
                "busy": one.busy,
                "load_seconds": one.load_seconds,
            }
            for one in found.choices
        ],
    }
    return json.dumps(document, indent=2) + "\n"
