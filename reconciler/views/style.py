"""How text looks: colour or none, and columns that line up. The only place that writes an ANSI sequence."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from typing import TypeVar

from reconciler.fleet import Answers
from reconciler.value_class import value_class
from reconciler.views.escape import cells, escape

T = TypeVar("T")
ROWS = 40
"""Most rows of a table or list before it says how many more there are."""
LONGEST_CELL = 1000
"""Most characters of one cell or sentence, so that a node's answer cannot fill a screen."""

_CODES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}


@value_class
class Style:
    """`colour` only on a terminal; `width` in cells, for bars and for paragraphs that wrap."""

    colour: bool = False
    width: int = 100

    def paint(self, text: str, look: str | None) -> str:
        """`text` in a look (`bold`, `dim`, `red`, `green`, `yellow`, `cyan`); as it stands without colour."""
        if not self.colour or look is None or not text:
            return text
        return f"\x1b[{_CODES[look]}m{text}\x1b[0m"

    def heading(self, text: str) -> str:
        return self.paint(escape(text), "bold")


PLAIN = Style()


@value_class
class Cell:
    """One cell of a table: text (escaped when shown), its look, whether it stands to the right (numbers).

    `spans` are the parts of a text that is our own, each with its look (the bar of a card).
    """

    text: str
    look: str | None = None
    right: bool = False
    spans: tuple[tuple[str, str | None], ...] = ()


NARROWEST = 40
"""Fewest cells beside the other columns in which the last one is wrapped; below it goes under them."""


def columns(rows: Sequence[Sequence[Cell]], style: Style, indent: str = "  ", widest: int = 64) -> list[str]:
    """Rows with their columns lined up, two spaces between. A cell above `widest` pushes only its own row; where a row is wider than the
    style, its last cell is wrapped between words."""
    return [line for lines in table(rows, style, indent, widest) for line in lines]


def table(rows: Sequence[Sequence[Cell]], style: Style, indent: str = "  ", widest: int = 64) -> list[list[str]]:
    """The same with the lines of each row apart."""
    shown = [[escape(cell.text, LONGEST_CELL) for cell in row] for row in rows]
    count = max((len(row) for row in rows), default=0)
    taken = [[cells(text) for text in row] for row in shown]
    sizes = [max([min(row[i], widest) for row in taken if i < len(row)], default=0) for i in range(count)]
    wrapped: Wrapped = Answers(lambda asked: textwrap.wrap(*asked, break_long_words=False, break_on_hyphens=False))
    return [_lined_up(row, texts, widths, sizes, style, indent, wrapped) for row, texts, widths in zip(rows, shown, taken, strict=True)]


Wrapped = Answers[tuple[str, int], list[str]]
"""The lines of a text in so many cells; the rows of a table often end alike."""


def _lined_up(
    row: Sequence[Cell], texts: Sequence[str], widths: Sequence[int], sizes: Sequence[int], style: Style, indent: str, wrapped: Wrapped
) -> list[str]:
    last = len(widths) - 1
    while last > 0 and not widths[last]:
        last -= 1
    parts: list[str] = []
    start = len(indent)
    for at, (size, cell, plain, width) in enumerate(zip(sizes, row, texts, widths, strict=False)):
        if not size:
            continue
        if at == last and start + width > style.width and not cell.spans and " " in plain:
            return _wrapped(indent + "".join(f"{part}  " for part in parts), start, plain, style, cell.look, len(indent) + 4, wrapped)
        space = " " * (size - width)
        text = "".join(style.paint(*span) for span in cell.spans) if cell.spans else style.paint(plain, cell.look)
        parts.append(space + text if cell.right else text + space)
        start += max(size, width) + 2
    return [(indent + "  ".join(parts)).rstrip()]


def _wrapped(head: str, start: int, text: str, style: Style, look: str | None, under: int, wrapped: Wrapped) -> list[str]:
    """The last cell of a row beside the others where there is room for that, else under them."""
    beside_them = style.width - start >= NARROWEST
    hang = start if beside_them else under
    pieces = wrapped[text, max(NARROWEST, style.width - hang)]
    lines = [" " * hang + style.paint(piece, look) for piece in pieces]
    return [head + lines[0][start:], *lines[1:]] if beside_them else [head.rstrip(), *lines]


def paragraph(text: str, style: Style, first: str = "  ", rest: str = "    ") -> list[str]:
    """A sentence, escaped and wrapped to the style's width, never inside a word."""
    return textwrap.wrap(
        escape(text, LONGEST_CELL),
        max(40, style.width),
        initial_indent=first,
        subsequent_indent=rest,
        break_long_words=False,
        break_on_hyphens=False,
    ) or [first.rstrip()]


def bounded(items: Sequence[T], most: int = ROWS) -> tuple[Sequence[T], int]:
    """The first `most` items and how many are left over; one left over is shown too, since a line would say no less."""
    return (items, 0) if len(items) <= most + 1 else (items[:most], len(items) - most)


def more(left: int, style: Style, what: str = "") -> list[str]:
    """`… and 9,960 more`, or nothing."""
    return [style.paint(f"  … and {left:,} more{' ' + what if what else ''}", "dim")] if left else []


def beside(address: str, sentence: str) -> str:
    """A sentence that stands beside an address, without the name of the same engine at its start."""
    engine = address.rpartition("@")[2]
    return sentence.removeprefix(f"{engine}: ")


def plural(count: int, one: str, many: str | None = None) -> str:
    """`1 card`, `2 cards`, `9,960 cards`."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def joined(lines: Iterable[str]) -> str:
    """Lines as one text that ends in a single newline."""
    return "\n".join(lines).rstrip("\n") + "\n"
