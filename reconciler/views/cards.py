"""The table of cards before and after: a bar of what is used, added, foreign and free for each card that changes."""

from __future__ import annotations

from collections.abc import Sequence

from reconciler.fleet import format_bytes
from reconciler.planning.plan import CardBalance
from reconciler.views.style import Cell, Style, bounded, columns, more, paragraph, plural

LEGEND = "█ used  ▓ added  ▒ foreign  ░ free  · kept free"


def cards_text(cards: Sequence[CardBalance], style: Style) -> list[str]:
    """The section of cards, without lines when there is no card. Cards that stay as they are come as one line of sums."""
    if not cards:
        return []
    changing = [card for card in cards if changes(card)]
    lines = [style.heading("Cards, before → after") + ("  " + style.paint(LEGEND, "dim") if changing else "")]
    shown, left = bounded(changing)
    lines += columns([_row(card, style) for card in shown], style)
    lines += more(left, style, "cards that change")
    if any(card.assumed for card in shown):
        assumed = paragraph("* assumed: the card's own use cannot be read, so its declared size and foreign use count", style)
        lines += [style.paint(line, "dim") for line in assumed]
    return [*lines, *_rest([card for card in cards if not changes(card)], style)]


def changes(card: CardBalance) -> bool:
    return card.before_bytes != card.after_bytes or card.peak_bytes > max(card.before_bytes, card.after_bytes)


def _rest(quiet: Sequence[CardBalance], style: Style) -> list[str]:
    if not quiet:
        return []
    unsized = sum(card.unsized for card in quiet)
    used = format_bytes(sum(card.after_bytes for card in quiet if not card.unsized))
    used = "use unknown" if unsized == len(quiet) else f"at least {used}" if unsized else used
    usable = [card.usable_bytes for card in quiet if card.usable_bytes is not None]
    of = f" of {format_bytes(sum(usable))} usable" if usable else ""
    of += "" if unsized == len(quiet) else " in use"
    unknown = len(quiet) - len(usable)
    size = f", {plural(unknown, 'card')} of unknown size" if unknown else ""
    size += f", {plural(unsized, 'card holds', 'cards hold')} a model of unknown size" if unsized else ""
    subject = plural(len(quiet), "card stays", "cards stay")
    return [style.paint(f"  {subject} as {'it is' if len(quiet) == 1 else 'they are'}: {used}{of}{size}", "dim")]


def _row(card: CardBalance, style: Style) -> list[Cell]:
    usable = "of unknown" if card.usable_bytes is None else f"of {format_bytes(card.usable_bytes)}"
    return [
        Cell(f"{card.node}/{card.gpu}{'*' if card.assumed else ''}", "bold"),
        Cell(card.name or "", "dim"),
        bar(card, max(10, min(30, style.width - 80))),
        Cell(format_bytes(card.before_bytes), right=True),
        Cell("→"),
        Cell(format_bytes(card.after_bytes), "green" if card.after_bytes > card.before_bytes else "red", right=True),
        Cell(usable),
        Cell(", ".join(card_remarks(card)), "dim"),
    ]


def card_remarks(card: CardBalance) -> list[str]:
    """What else is to be said of a card."""
    said = [f"{format_bytes(card.foreign_bytes)} foreign"] if card.foreign_bytes else []
    said += ["holds a model of unknown size"] if card.unsized else []
    said += [plural(card.agents, "agent")] if card.agents else []
    return [*said, f"peak {format_bytes(card.peak_bytes)}"] if card.peak_bytes > max(card.before_bytes, card.after_bytes) else said


def bar(card: CardBalance, width: int) -> Cell:
    """The card after the plan, `width` cells for its whole size; what is there at all takes one cell at least."""
    total = card.total_bytes or card.usable_bytes
    if not total:
        return Cell("size unknown", "dim")
    kept = min(card.before_bytes, card.after_bytes)
    foreign = card.foreign_bytes or 0
    usable = total if card.usable_bytes is None else card.usable_bytes
    free = max(0, usable - foreign - card.after_bytes)
    parts = (("█", None, kept), ("▓", "green", card.after_bytes - kept), ("▒", "yellow", foreign), ("░", "dim", free))
    left, spans = width, []
    for glyph, look, count in parts:
        size = min(left, max(1, round(count * width / total)) if count > 0 else 0)
        spans.append((glyph * size, look))
        left -= size
    spans.append(("·" * left, "dim"))
    return Cell("".join(text for text, _ in spans), spans=tuple(spans))
