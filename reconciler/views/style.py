"""How text looks: colour or none, and columns that line up. The only place that writes an ANSI sequence."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from reconciler.views.escape import cells, escape

T = TypeVar("T")
ROWS = 40
"""Most rows of a table or list before it says how many more there are."""
LONGEST_CELL = 1000
"""Most characters of one cell or sentence, so that a node's answer cannot fill a screen."""

_CODES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}


@dataclass(frozen=True, slots=True)
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


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell of a table: text (escaped when shown), its look, whether it stands to the right (numbers).

    `spans` are the parts of a text that is our own, each with its look (the bar of a card).
    """

    text: str
    look: str | None = None
    right: bool = False
    spans: tuple[tuple[str, str | None], ...] = ()


def columns(rows: Sequence[Sequence[Cell]], style: Style, indent: str = "  ", widest: int = 64) -> list[str]:
    """Rows with their columns lined up, two spaces between. A cell above `widest` pushes only its own row."""
    shown = [[escape(cell.text, LONGEST_CELL) for cell in row] for row in rows]
    count = max((len(row) for row in rows), default=0)
    taken = [[cells(text) for text in row] for row in shown]
    sizes = [max((min(row[i], widest) for row in taken if i < len(row)), default=0) for i in range(count)]
    lines = []
    for row, texts, widths in zip(rows, shown, taken, strict=True):
        parts: list[str] = []
        for size, cell, plain, width in zip(sizes, row, texts, widths, strict=False):
            if not size:
                continue
            space = " " * (size - width)
            text = "".join(style.paint(*span) for span in cell.spans) if cell.spans else style.paint(plain, cell.look)
            parts.append(space + text if cell.right else text + space)
        lines.append((indent + "  ".join(parts)).rstrip())
    return lines


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
