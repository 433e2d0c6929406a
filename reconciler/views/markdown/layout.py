"""The shapes of a markdown document: headings, tables, fences, and what a forge's markdown can do."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from reconciler.value_class import value_class
from reconciler.views.markdown.budget import Listing, Whole
from reconciler.views.markdown.neutral import fence_line
from reconciler.views.style import plural


@value_class
class Flavour:
    """`folds`: the forge shows `<details>` closed. Bitbucket shows HTML as text, so there everything lies open."""

    folds: bool


FOLDING = Flavour(True)
FLAT = Flavour(False)


def heading(level: int) -> str:
    return "#" * level


def cell_row(*cells: str) -> str:
    """A row of a table; its cells are markdown already."""
    return f"| {' | '.join(cells)} |\n"


def left_out(one: str, tail: str = "") -> Callable[[int], str]:
    """Says how many rows a listing had no room for."""
    return lambda count: f"\n… {plural(count, f'more {one}')}{f' {tail}' if tail else ''}: no room here, see the plan itself.\n\n"


def diff_fence(lines: Sequence[str]) -> Listing:
    """Lines of a diff in a fence that none of them can close."""
    shown = [fence_line(line) for line in lines]
    longest = max((len(line) - len(line.lstrip(" ").lstrip("~")) for line in shown), default=0)
    fence = "~" * max(3, longest + 1)
    return Listing(f"{fence}diff\n", [Whole(f"{line}\n") for line in shown], left_out("line", "of the diff"), f"{fence}\n\n")
