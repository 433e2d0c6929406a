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

    `spans` are the parts of a text that is our own, each with its look (the bar of a card). `sentence`: it may be wrapped though others are
    after it, as the last one of a row is; a name never is, so that none begins a line with what looks like a step.
    """

    text: str
    look: str | None = None
    right: bool = False
    spans: tuple[tuple[str, str | None], ...] = ()
    sentence: bool = False


NARROWEST = 40
"""Fewest cells beside the other columns in which the last one is wrapped; below it goes under them."""
NARROWEST_INSIDE = 24
"""Fewest cells in which a column between others is wrapped."""


def columns(rows: Sequence[Sequence[Cell]], style: Style, indent: str = "  ", widest: int = 64) -> list[str]:
    """Rows with their columns lined up, two spaces between. A cell above `widest` pushes only its own row. What is wider than the style is
    wrapped between words: the widest column between others, the last cell; what does not fit even so goes on below."""
    return [line for lines in table(rows, style, indent, widest) for line in lines]


def table(rows: Sequence[Sequence[Cell]], style: Style, indent: str = "  ", widest: int = 64) -> list[list[str]]:
    """The same with the lines of each row apart."""
    shown = [[escape(cell.text, LONGEST_CELL) for cell in row] for row in rows]
    count = max((len(row) for row in rows), default=0)
    taken = [[cells(text) for text in row] for row in shown]
    sizes = [max([min(row[i], widest) for row in taken if i < len(row)], default=0) for i in range(count)]
    narrow = _narrowed(rows, sizes, style.width - len(indent))
    layout = _Layout(style, indent, sizes, narrow, Answers(_words))
    return [_lined_up(row, texts, widths, layout) for row, texts, widths in zip(rows, shown, taken, strict=True)]


Wrapped = Answers[tuple[str, int], list[str]]
"""The lines of a text in so many cells; the rows of a table often end alike."""


def _words(asked: tuple[str, int]) -> list[str]:
    return textwrap.wrap(*asked, break_long_words=False, break_on_hyphens=False) or [""]


@value_class
class _Layout:
    """`narrow` is the column whose cells are wrapped to its size."""

    style: Style
    indent: str
    sizes: Sequence[int]
    narrow: int | None
    wrapped: Wrapped

    @property
    def under(self) -> int:
        return len(self.indent) + 4


def _narrowed(rows: Sequence[Sequence[Cell]], sizes: list[int], room: int) -> int | None:
    """The widest column of sentences before the last, made so narrow that all columns have room, else all but the last of them. None: they
    have it as they are, or there is no such column."""
    there = [at for at, size in enumerate(sizes) if size]
    widest = max({at for row in rows for at in there[:-1] if len(row) > at and row[at].sentence}, key=lambda at: sizes[at], default=None)
    if widest is None:
        return None
    last = there[-1]
    spared = max(0, sizes[last] - NARROWEST) if any(" " in row[last].text for row in rows if len(row) > last) else 0
    for count in range(len(there), there.index(widest), -1):
        beside = there[:count]
        over = sum(sizes[at] for at in beside) + 2 * (count - 1) - (spared if beside[-1] == last else 0) - room
        if over <= 0:
            return None
        if sizes[widest] - over >= NARROWEST_INSIDE:
            sizes[widest] -= over
            return widest
    return None


def _lined_up(row: Sequence[Cell], texts: Sequence[str], widths: Sequence[int], layout: _Layout) -> list[str]:
    last = max((at for at, width in enumerate(widths) if width), default=0)
    line, start, below = layout.indent, len(layout.indent), []
    for at, (size, cell, plain, width) in enumerate(zip(layout.sizes, row, texts, widths, strict=False)):
        if not size or at > last:
            continue
        if at == layout.narrow and width > size and start + size <= layout.style.width:
            plain, *rest = layout.wrapped[plain, size]
            width = cells(plain)
            below = [" " * start + layout.style.paint(piece, cell.look) for piece in rest]
        if at and width and start + (max(size, width) if cell.right else width) > layout.style.width:
            if at == last and " " in plain and not cell.spans:
                first, *rest = _ending(cell, plain, line, start, layout)
                return [first, *below, *rest]
            return [line.rstrip(), *below, *_going_on(row[at : last + 1], texts[at : last + 1], layout)]
        space, text = " " * (size - width), _painted(cell, plain, layout.style)
        line += (space + text if cell.right else text + space) + "  "
        start += max(size, width) + 2
    return [line.rstrip(), *below]


def _painted(cell: Cell, plain: str, style: Style) -> str:
    return "".join(style.paint(*span) for span in cell.spans) if cell.spans else style.paint(plain, cell.look)


def _ending(cell: Cell, plain: str, head: str, start: int, layout: _Layout) -> list[str]:
    """The last cell beside the others, which are `head` and end at `start`, where it has room there and takes no more lines than below."""
    style, under = layout.style, layout.under
    below = layout.wrapped[plain, max(NARROWEST, style.width - under)]
    if style.width - start >= NARROWEST and len(beside_them := layout.wrapped[plain, style.width - start]) <= len(below):
        first, *rest = (style.paint(piece, cell.look) for piece in beside_them)
        return [head + first, *(" " * start + piece for piece in rest)]
    return [head.rstrip(), *(" " * under + style.paint(piece, cell.look) for piece in below)]


def _going_on(row: Sequence[Cell], texts: Sequence[str], layout: _Layout) -> list[str]:
    """Cells below the start of their row, one after another."""
    lines: list[str] = []
    indent = " " * layout.under
    line, taken = indent, layout.under
    for at, (cell, plain) in enumerate(zip(row, texts, strict=True)):
        if not plain:
            continue
        if line.strip() and taken + cells(plain) > layout.style.width:
            lines.append(line.rstrip())
            line, taken = indent, layout.under
        room = max(NARROWEST, layout.style.width - taken)
        *whole, end = layout.wrapped[plain, room] if (cell.sentence or at == len(row) - 1) and not cell.spans else [plain]
        for piece in whole:
            lines.append(line + layout.style.paint(piece, cell.look))
            line, taken = indent, layout.under
        line += _painted(cell, end, layout.style) + "  "
        taken += cells(end) + 2
    return [*lines, line.rstrip()]


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
