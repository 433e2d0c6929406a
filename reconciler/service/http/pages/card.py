"""A card's day: what was used, how busy and how warm it was, from the history of facts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from reconciler.fleet import CardSample, Frame, format_bytes
from reconciler.operations.proposal import Proposal
from reconciler.service.http.pages.fleet import holder_words, models_on, silent_on, silent_words
from reconciler.service.http.pages.frame import facts, table
from reconciler.views.html.elements import Content, Html, code, tag

DAY = 86400
_WIDTH, _HEIGHT, _TOP = 720.0, 120.0, 16.0
_MOST_ROWS = 48
MEMORY, BUSY = "Memory in use", "Busy"
Value = Callable[[CardSample], float | None]
_COURSES: tuple[tuple[str, Value, Callable[[float], str]], ...] = (
    (MEMORY, lambda one: one.used_bytes, lambda value: format_bytes(round(value))),
    (BUSY, lambda one: None if one.utilisation is None else one.utilisation * 100, lambda value: f"{value:.0f}%"),
    ("Temperature", lambda one: one.temperature, lambda value: f"{value:.0f} °C"),
    ("Power", lambda one: one.power, lambda value: f"{value:.0f} W"),
)


def card_body(seen: Proposal, name: str, frames: Sequence[Frame]) -> Content:
    """`frames` are those of this card alone, the oldest first."""
    card = next((one for one in seen.plan.gpus if f"{one.node}/{one.gpu}" == name), None)
    samples = [(frame.at, one) for frame in frames for one in frame.cards.values()]
    there = models_on(seen).get((card.node, card.gpu), ()) if card is not None else ()
    silent = silent_on(seen, card) if card is not None else []
    usable = None if card is None else card.usable_bytes
    tops = {MEMORY: None if card is None else card.total_bytes, BUSY: 100}
    return [
        tag("h1", "Card ", code(name)),
        facts(
            ("name", (card.name if card is not None else None) or "unknown"),
            ("usable", "unknown" if usable is None else format_bytes(usable)),
            ("on it", [*(holder_words(seen, one) for one in there), *map(silent_words, silent)] or "no model that an engine tells of"),
        ),
        [_course(title, samples, value, words, tops.get(title)) for title, value, words in _COURSES],
        _figures(samples) if samples else tag("p", "Nothing was seen of it in the last day."),
    ]


def _course(
    title: str, samples: Sequence[tuple[int, CardSample]], value: Value, words: Callable[[float], str], top: float | None
) -> Content:
    """A line over the day, from nothing to `top`, or to the most that was seen where that is not known."""
    known = [(at, found) for at, one in samples if (found := value(one)) is not None]
    if not known:
        return None
    low, high, last = min(v for _, v in known), max(v for _, v in known), known[-1][1]
    said = f"{title}: {words(last)} now, between {words(low)} and {words(high)} in the last day"
    scale = f"from {_time(known[0][0])} to {_time(known[-1][0])}; the top is {words(max(high, top or 0.0))}"
    above = max(high, top or 0.0) or 1.0
    first, span = known[0][0], max(1, known[-1][0] - known[0][0])
    points = " ".join(f"{(at - first) / span * _WIDTH:.1f},{_TOP + _HEIGHT * (1 - v / above):.1f}" for at, v in known)
    whole = _TOP + _HEIGHT + 4
    shown = tag(
        "svg",
        tag("line", class_="axis", x1=0.0, x2=_WIDTH, y1=_TOP + _HEIGHT, y2=_TOP + _HEIGHT),
        tag("polyline", class_="course", points=Html(points)),
        role="img",
        aria_label=said,
        class_="wide",
        viewBox=f"0 0 {_WIDTH:.0f} {whole:.0f}",
    )
    return [
        tag("h2", title),
        tag("p", said.partition(": ")[2], class_="quiet"),
        [shown, tag("p", scale, class_="quiet")] if len(known) > 1 else None,
    ]


def _figures(samples: Sequence[tuple[int, CardSample]]) -> Content:
    every = -(-len(samples) // _MOST_ROWS)
    rows = [
        tag("tr", tag("td", _time(at)), *(tag("td", "" if (v := value(one)) is None else words(v)) for _, value, words in _COURSES))
        for at, one in reversed(samples[:: max(1, every)])
    ]
    heads = ("at", *(title for title, _, _ in _COURSES))
    return [tag("h2", "In figures"), tag("details", tag("summary", "The last day"), table("The last day", heads, rows), id="figures")]


def _time(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%MZ")
