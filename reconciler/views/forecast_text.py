"""What the history foretells of cards, for people and as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from reconciler.fleet import CardKey, format_bytes
from reconciler.health.forecast import Forecast
from reconciler.views.past_text import time_text
from reconciler.views.style import Cell, Style, bounded, columns, joined, more

Row = tuple[CardKey, int, int | None, Mapping[str, int], Forecast]
"""Card, time of its newest sample, its bytes, its levels in bytes, and what is foretold."""


def forecast_text(rows: Sequence[Row], hours: int, *, colour: bool = False, width: int = 100) -> str:
    """A line a card: now, the trend, what is expected at the end, and the levels that are reached."""
    style = Style(colour, width)
    if not rows:
        return "There is no history yet: gpurec watch and gpurec serve keep one.\n"
    names = ("card", "now", "of", "an hour", f"in {hours} h", "four of five between")
    heads = [Cell(name, "dim", right=place > 0) for place, name in enumerate((*names, "", ""))]
    shown, left = bounded(rows)
    return joined([*columns([heads, *(_row(one) for one in shown)], style), *more(left, style, "cards")])


def _row(one: Row) -> list[Cell]:
    (node, card), _, total, _, told = one
    last = told.points[-1] if told.points else None
    between = "" if last is None else f"{format_bytes(round(last.low))} – {format_bytes(round(last.high))}"
    texts = (_bytes(told.now), _bytes(total), _trend(told.trend), _bytes(last.expected if last is not None else None), between)
    reached = [f"{name} {'now' if at == 0 else f'in {at} h'}" for name, at in told.reached.items() if at is not None]
    worst = Cell(", ".join(reached[-1:]), "red" if reached and reached[-1].startswith("critical") else "yellow")
    return [Cell(f"{node}/{card}"), *(Cell(text, right=True) for text in texts), worst, Cell(told.reason, "dim")]


def _bytes(count: float | None) -> str:
    return "" if count is None else format_bytes(round(count))


def _trend(by: float | None) -> str:
    return "" if by is None else f"{'-' if by < 0 else '+'}{format_bytes(abs(round(by)))}"


def forecast_document(fleet: str, hours: int, rows: Sequence[Row]) -> Mapping[str, object]:
    """Bytes and hours; unknown is null. `known` is false where too little is known, and `reason` says why."""
    return {"format_version": "1.0", "fleet": fleet, "hours": hours, "cards": [_card(one) for one in rows]}


def _card(one: Row) -> Mapping[str, object]:
    (node, card), at, total, levels, told = one
    return {
        "node": node,
        "gpu": card,
        "as_of": time_text(at),
        "total_bytes": total,
        "used_bytes": _whole(told.now),
        "trend_bytes_per_hour": _whole(told.trend),
        "known": told.known,
        "method": told.method.value,
        "reason": told.reason,
        "mean_error_bytes": {
            "own": _whole(told.error),
            "as_now": _whole(told.error_as_now),
            "as_yesterday": _whole(told.error_as_yesterday),
        },
        "levels": [{"level": name, "bytes": count, "reached_in_hours": told.reached.get(name)} for name, count in levels.items()],
        "points": [
            {
                "hours": point.hours,
                "expected_bytes": round(point.expected),
                "low_bytes": round(point.low),
                "high_bytes": round(point.high),
            }
            for point in told.points
        ],
    }


def _whole(value: float | None) -> int | None:
    return None if value is None else round(value)


def forecast_json(fleet: str, hours: int, rows: Sequence[Row]) -> str:
    """The document as text."""
    return json.dumps(forecast_document(fleet, hours, rows), indent=2) + "\n"
