"""The history of facts, for people and as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TypeVar

from reconciler.fleet import LOOK, CardSample, Frame, ModelSample, format_bytes, format_duration, format_ratio
from reconciler.views.style import Cell, Style, bounded, columns, joined, more, plural

Key = TypeVar("Key")
One = TypeVar("One")
BARS = "▁▂▃▄▅▆▇█"
_BARS_WIDE = 24


def past_text(frames: Sequence[Frame], *, single: bool, colour: bool = False, width: int = 100) -> str:
    """Of all cards and models a line each with the course of its use; of a single one a line for each frame."""
    style = Style(colour, width)
    if not frames:
        return "Nothing was seen in that time: gpurec watch and gpurec serve keep a history.\n"
    return joined(_times(frames, style) if single else _lines(frames, style))


def _lines(frames: Sequence[Frame], style: Style) -> Iterable[str]:
    looks = sum(one.span == LOOK for one in frames)
    counted = ", ".join(filter(None, (plural(looks, "look") if looks else "", plural(len(frames) - looks, "mean"))))
    yield style.heading(f"{time_text(frames[0].at)} to {time_text(frames[-1].at)}: {counted}")
    cards, models = series(frames, lambda one: one.cards), series(frames, lambda one: one.models)
    heads = _heads(("card", "course of use", "now", "mean", "most", "of", "busy", "°C", "W"), 2)
    shown, left = bounded(sorted(cards, key=lambda key: (key[0], str(key[1]))))
    yield from columns([heads, *(_card_row(f"{node}/{card}", cards[node, card]) for node, card in shown)], style)
    yield from more(left, style, "cards")
    if models:
        yield ""
        heads = _heads(("model", "course of residence", "resident", "on cards", "latency", "tokens/s", "queue", "failures"), 2)
        few, left = bounded(sorted(models))
        yield from columns([heads, *(_model_row(address, models[address]) for address in few)], style)
        yield from more(left, style, "models")


def series(frames: Sequence[Frame], part: Callable[[Frame], Mapping[Key, One]]) -> Mapping[Key, list[tuple[int, One]]]:
    """By card or model its samples with their times."""
    found: dict[Key, list[tuple[int, One]]] = {}
    for frame in frames:
        for key, one in part(frame).items():
            found.setdefault(key, []).append((frame.at, one))
    return found


def _heads(names: Sequence[str], left: int) -> list[Cell]:
    return [Cell(name, "dim", right=place >= left) for place, name in enumerate(names)]


def _card_row(name: str, found: Sequence[tuple[int, CardSample]]) -> list[Cell]:
    used = [one.used_bytes for _, one in found if one.used_bytes is not None]
    last = found[-1][1]
    return [
        Cell(name),
        Cell(course([(at, one.used_bytes) for at, one in found], last.total_bytes)),
        *_right(
            _bytes(last.used_bytes),
            _bytes(round(sum(used) / len(used)) if used else None),
            _bytes(max(used, default=None)),
            _bytes(last.total_bytes),
            _share(last.utilisation),
            _number(last.temperature),
            _number(last.power),
        ),
    ]


def _model_row(address: str, found: Sequence[tuple[int, ModelSample]]) -> list[Cell]:
    last = found[-1][1]
    there = [one.resident for _, one in found if one.resident is not None]
    return [
        Cell(address),
        Cell(course([(at, one.resident) for at, one in found], 1.0)),
        *_right(
            _share(sum(there) / len(there) if there else None),
            _bytes(last.vram_bytes),
            _seconds(next((one.latency for _, one in reversed(found) if one.latency is not None), None)),
            _number(next((one.tokens_per_second for _, one in reversed(found) if one.tokens_per_second is not None), None)),
            _number(last.queue),
            f"{sum(one.failures for _, one in found):,}",
        ),
    ]


def course(values: Sequence[tuple[int, float | None]], top: float | None) -> str:
    """Means over equal parts of the time as bars between 0 and `top`; a blank where nothing is known."""
    first, last = values[0][0], values[-1][0]
    parts: list[list[float]] = [[] for _ in range(min(_BARS_WIDE, len(values)))]
    for at, value in values:
        if value is not None:
            parts[min(len(parts) - 1, (at - first) * len(parts) // max(1, last - first))].append(value)
    most = top or max((value for part in parts for value in part), default=0)
    means = [sum(part) / len(part) if part else None for part in parts]
    return "".join(" " if one is None or not most else BARS[min(7, max(0, int(one / most * 8)))] for one in means)


def _times(frames: Sequence[Frame], style: Style) -> Iterable[str]:
    cards = bool(frames[0].cards)
    names = ("use", "of", "busy", "°C", "W", "throttled") if cards else ("resident", "on cards", "latency", "tokens/s", "queue", "failures")
    rows = [_heads(("time", "over", *names), 1)]
    for frame in frames:
        over = "" if frame.span == LOOK else format_duration(frame.span)
        texts = [text for one in frame.cards.values() for text in _card_texts(one)]
        texts += [text for one in frame.models.values() for text in _model_texts(one)]
        rows.append([Cell(time_text(frame.at)), *_right(over, *texts)])
    yield style.heading(next((f"{node}/{card}" for node, card in frames[0].cards), None) or next(iter(frames[0].models)))
    yield from columns(rows, style)


def _card_texts(one: CardSample) -> Sequence[str]:
    return (
        _bytes(one.used_bytes),
        _bytes(one.total_bytes),
        _share(one.utilisation),
        _number(one.temperature),
        _number(one.power),
        _share(one.throttled),
    )


def _model_texts(one: ModelSample) -> Sequence[str]:
    return (
        _share(one.resident),
        _bytes(one.vram_bytes),
        _seconds(one.latency),
        _number(one.tokens_per_second),
        _number(one.queue),
        str(one.failures),
    )


def _right(*texts: str) -> list[Cell]:
    return [Cell(text, right=True) for text in texts]


def _bytes(count: int | None) -> str:
    return "" if count is None else format_bytes(count)


def _share(value: float | None) -> str:
    return "" if value is None else format_ratio(value)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _seconds(value: float | None) -> str:
    return "" if value is None else format_duration(value)


def time_text(at: int) -> str:
    """A time as everywhere: ISO 8601 in UTC, to the second."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def past_json(fleet: str, since: int, frames: Sequence[Frame]) -> str:
    """Every sample with its time; `span_seconds` is over how long it is a mean, 0 for a look. Unknown is null."""
    spans = {frame.at: frame.span for frame in frames}
    cards = [
        {"node": node, "gpu": card, "samples": [{"at": time_text(at), "span_seconds": spans[at], **_document(one)} for at, one in found]}
        for (node, card), found in series(frames, lambda one: one.cards).items()
    ]
    models = [
        {"address": address, "samples": [{"at": time_text(at), "span_seconds": spans[at], **_document(one)} for at, one in found]}
        for address, found in series(frames, lambda one: one.models).items()
    ]
    document = {"format_version": "1.0", "fleet": fleet, "since": time_text(since), "cards": cards, "models": models}
    return json.dumps(document, indent=2) + "\n"


def _document(one: CardSample | ModelSample) -> Mapping[str, object]:
    if isinstance(one, CardSample):
        return {
            "used_bytes": one.used_bytes,
            "total_bytes": one.total_bytes,
            "utilisation": one.utilisation,
            "temperature": one.temperature,
            "power": one.power,
            "throttled": one.throttled,
        }
    return {
        "resident": one.resident,
        "vram_bytes": one.vram_bytes,
        "latency_seconds": one.latency,
        "tokens_per_second": one.tokens_per_second,
        "queue": one.queue,
        "failures": one.failures,
    }
