"""What the loss of nodes would leave without a place, for people and as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence

from reconciler.planning.plan import Unplaced
from reconciler.views.style import Cell, Style, bounded, columns, joined, more, paragraph, plural

Losses = Sequence[tuple[Sequence[str], Sequence[Unplaced]]]
"""The nodes that are lost, and what has no place then that has one now; the worst first."""


def survival_text(lost: int, nodes: int, cases: int, before: int, losses: Losses, *, colour: bool = False, width: int = 100) -> str:
    """Begins `Survives` where nothing would lose its place, `Does not survive` where something would."""
    style = Style(colour, width)
    hard = sum(any(not one.best_effort for one in unplaced) for _, unplaced in losses)
    if not hard:
        any_of = f"the loss of any {plural(lost, 'node')} of {nodes:,}"
        head = f"{style.paint('Survives', 'green')} {any_of}: everything that has a place now would have one."
    else:
        start = f"{style.paint('Does not survive', 'red')} every loss of {plural(lost, 'node')} of {nodes:,}"
        head = f"{start}: {hard:,} of {plural(cases, 'case')} would leave something without a place."
    lines = [head]
    shown, left = bounded(losses)
    rows = [[Cell(f"- {', '.join(gone)}", "red"), Cell(_words(unplaced))] for gone, unplaced in shown]
    lines += [*columns(rows, style), *more(left, style, "cases")]
    if before:
        lines += paragraph(f"{plural(before, 'replica has', 'replicas have')} no place already; `gpurec plan` says why.", style, "", "  ")
    return joined(lines)


def _words(unplaced: Sequence[Unplaced]) -> str:
    return "without a place: " + ", ".join(
        f"{one.model}{f' ×{one.count}' if one.count > 1 else ''}{' (best effort)' if one.best_effort else ''}" for one in unplaced
    )


def survival_json(lost: int, nodes: int, cases: int, before: int, losses: Losses) -> str:
    """One JSON document."""
    rows = [
        {
            "nodes": list(gone),
            "unplaced": [{"model": one.model, "count": one.count, "best_effort": one.best_effort} for one in unplaced],
        }
        for gone, unplaced in losses
    ]
    survives = all(one.best_effort for _, unplaced in losses for one in unplaced)
    document = {
        "format_version": "1.0",
        "lost": lost,
        "nodes": nodes,
        "cases": cases,
        "survives": survives,
        "unplaced_now": before,
        "losses": rows,
    }
    return json.dumps(document, indent=2) + "\n"
