"""Cards as two bars each, before and after, drawn to one scale, with the same in figures beside them."""

from __future__ import annotations

from collections.abc import Sequence

from reconciler.fleet import format_bytes
from reconciler.planning.plan import CardBalance
from reconciler.views.alike import alike_cards
from reconciler.views.cards import card_remarks, changes
from reconciler.views.html.elements import Content, Html, code, left_out, tag
from reconciler.views.style import bounded, plural

MOST = 100
"""Rows of cards; those that are alike on many nodes share one."""
_WIDTH, _HEIGHT, _GAP = 260.0, 11.0, 3.0
_LEGEND = (
    ("f-used", "used"),
    ("f-added", "added"),
    ("f-gone", "given back"),
    ("f-foreign", "other programs"),
    ("f-free", "free"),
    ("f-reserve", "kept free"),
)


def cards_section(cards: Sequence[CardBalance]) -> Content:
    changing = [card for card in cards if changes(card)]
    if not changing:
        return None
    rows = alike_cards(changing)
    shown, _ = bounded(rows, MOST)
    left = len(changing) - sum(count for _, count in shown)
    quiet = len(cards) - len(changing)
    said = [f"{plural(quiet, 'card stays as it is', 'cards stay as they are')}."] if quiet else []
    if any(card.assumed for card, _ in shown):
        said.append("Assumed: the card's own use cannot be read, so its declared size and foreign use count.")
    head = tag("tr", *(tag("th", name, class_="number" if number else None, scope="col") for name, number in _COLUMNS))
    table = tag("table", tag("thead", head), tag("tbody", *(_row(card, count) for card, count in shown)))
    return [
        tag("h2", "Cards, before → after"),
        tag("p", *(tag("span", _swatch(look), name) for look, name in _LEGEND), class_="legend quiet"),
        tag("div", table, class_="scroll", tabindex="0", role="region", aria_label="Cards, before and after"),
        left_out(left, "cards that change"),
        tag("p", " ".join(said), class_="quiet") if said else None,
    ]


_COLUMNS = (
    ("card", False),
    ("before, after", False),
    ("before", True),
    ("after", True),
    ("free then", True),
    ("usable", True),
    ("remarks", False),
)


def _swatch(look: str) -> Html:
    return tag("svg", tag("rect", class_=look, width=10.0, height=10.0), width=10.0, height=10.0, aria_hidden="true")


def _row(card: CardBalance, count: int) -> Html:
    free = "unknown" if card.free_after_bytes is None else format_bytes(card.free_after_bytes)
    usable = "unknown" if card.usable_bytes is None else format_bytes(card.usable_bytes)
    said = [*card_remarks(card), *(["assumed"] if card.assumed else [])]
    alike = f" and {count - 1:,} alike" if count > 1 else None
    return tag(
        "tr",
        tag("td", code(f"{card.node}/{card.gpu}"), alike, tag("div", card.name, class_="quiet") if card.name else None),
        tag("td", _bars(card)),
        *(tag("td", text, class_="number") for text in (format_bytes(card.before_bytes), format_bytes(card.after_bytes), free, usable)),
        tag("td", ", ".join(said), class_="quiet"),
        data_row=True,
    )


def _bars(card: CardBalance) -> Content:
    total = card.total_bytes or card.usable_bytes
    if not total:
        return tag("span", "size unknown", class_="quiet")
    kept = min(card.before_bytes, card.after_bytes)
    before = [("f-used", kept), ("f-gone", card.before_bytes - kept)]
    after = [("f-used", kept), ("f-added", card.after_bytes - kept)]
    peak = card.peak_bytes if card.peak_bytes > max(card.before_bytes, card.after_bytes) else None
    rects = [*_bar(card, before, total, 0.0), *_bar(card, after, total, _HEIGHT + _GAP)]
    if peak is not None:
        at = min(_WIDTH, peak / total * _WIDTH)
        rects.append(tag("line", class_="f-peak", x1=at, x2=at, y1=0.0, y2=2 * _HEIGHT + _GAP))
    words = f"{card.node}/{card.gpu}: {format_bytes(card.before_bytes)} before, {format_bytes(card.after_bytes)} after"
    height = 2 * _HEIGHT + _GAP
    return tag("svg", *rects, role="img", aria_label=words, width=_WIDTH, height=height, viewBox=f"0 0 {_WIDTH:.0f} {height:.0f}")


def _bar(card: CardBalance, parts: Sequence[tuple[str, int]], total: int, top: float) -> list[Html]:
    """What holds it from the left, then foreign memory, what is free, and what is kept free at the right."""
    usable = total if card.usable_bytes is None else card.usable_bytes
    foreign = card.foreign_bytes or 0
    held = sum(count for _, count in parts)
    every = (*parts, ("f-foreign", foreign), ("f-free", max(0, usable - foreign - held)), ("f-reserve", total))
    rects, at = [], 0.0
    for look, count in every:
        width = min(_WIDTH - at, count / total * _WIDTH)
        if width > 0:
            rects.append(tag("rect", class_=look, x=at, y=top, width=width, height=_HEIGHT))
            at += width
    return rects
