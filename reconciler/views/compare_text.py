"""Two plans against each other, as text and as a JSON document."""

from __future__ import annotations

from collections.abc import Sequence

from reconciler.fleet import format_bytes
from reconciler.planning.compare import FieldChange, PlanComparison
from reconciler.planning.plan import Json, Plan, Step
from reconciler.views.document import plan_document
from reconciler.views.sections import value_text
from reconciler.views.step_words import size_of
from reconciler.views.style import Cell, Style, bounded, columns, joined, more, plural


def compare_text(first: Plan, second: Plan, found: PlanComparison, *, colour: bool = False, width: int = 100) -> str:
    """What the second plan does otherwise than the first; begins `The same steps` where it does not. Names from nodes are escaped."""
    style = Style(colour, width)
    blocks: list[list[str]] = []
    if found.head:
        blocks.append([style.heading("Beside the steps, first → second"), *_fields(found.head, style, "  ")])
    if found.added:
        blocks.append([style.heading("Only in the second"), *_steps("+", "green", found.added, style)])
    if found.removed:
        blocks.append([style.heading("Only in the first"), *_steps("-", "red", found.removed, style)])
    if found.changed:
        shown, left = bounded(found.changed)
        lines = [style.heading("Changed, first → second")]
        for one in shown:
            lines += columns([[Cell(f"~ {one.after.action.value}", "yellow"), Cell(one.after.address)]], style)
            lines += _fields(one.fields, style, "      ")
        blocks.append([*lines, *more(left, style, "steps")])
    if found.same:
        total = plural(found.unchanged, "step")
        digests = "and the same digest" if first.digest == second.digest else "but the digests differ"
        end = f"The same steps in the same order ({total}), {digests}."
    else:
        order = ", in another order" if found.moved else ""
        counts = (("added", found.added), ("removed", found.removed), ("changed", found.changed))
        words = ", ".join(f"{len(steps):,} {word}" for word, steps in counts)
        end = f"{words}, {found.unchanged:,} the same{order}."
    return joined("\n".join(block) + "\n" for block in [*blocks, [end]])


def compare_document(first: Plan, second: Plan, found: PlanComparison) -> dict[str, Json]:
    """The comparison as JSON values; steps as in a plan document."""
    before, after = _step_documents(first), _step_documents(second)
    return {
        "same": found.same,
        "digests": [first.digest, second.digest],
        "head": _changes(found.head),
        "added": [after[step.id] for step in found.added],
        "removed": [before[step.id] for step in found.removed],
        "changed": [
            {
                "id": one.after.id,
                "address": one.after.address,
                "action": one.after.action.value,
                "fields": _changes(one.fields),
            }
            for one in found.changed
        ],
        "unchanged": found.unchanged,
        "moved": found.moved,
    }


def _step_documents(plan: Plan) -> dict[str, Json]:
    steps = plan_document(plan)["steps"]
    assert isinstance(steps, list)
    return {step.id: document for step, document in zip(plan.steps, steps, strict=True)}


def _changes(fields: Sequence[FieldChange]) -> list[Json]:
    return [{"name": one.name, "before": one.before, "after": one.after} for one in fields]


def _steps(sign: str, look: str, steps: Sequence[Step], style: Style) -> list[str]:
    shown, left = bounded(steps)
    rows = [
        [
            Cell(f"{sign} {step.action.value}", look),
            Cell(step.address),
            Cell(size_of(step), right=True),
            Cell(step.reason.message or step.reason.code),
        ]
        for step in shown
    ]
    return [*columns(rows, style), *more(left, style, "steps")]


def _fields(fields: Sequence[FieldChange], style: Style, indent: str) -> list[str]:
    shown, left = bounded(fields)
    return [
        *columns([[Cell(one.name), Cell(f"{_value(one, one.before)} → {_value(one, one.after)}")] for one in shown], style, indent),
        *more(left, style, "fields"),
    ]


def _value(one: FieldChange, value: str | int | float | bool | None) -> str:
    if value is None:
        return "none"
    if one.name.endswith("_bytes") and isinstance(value, int) and not isinstance(value, bool):
        return format_bytes(value)
    return value_text(value)
