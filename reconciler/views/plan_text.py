"""A plan for people: what changes and why, what the cards hold before and after, and what could not be placed or known."""

from __future__ import annotations

from enum import StrEnum

from reconciler.planning.kinds.model.step import ModelStep
from reconciler.planning.plan import Action, Plan, Step
from reconciler.views.cards import cards_text
from reconciler.views.document import plan_summary
from reconciler.views.escape import escape
from reconciler.views.sections import (
    deferred_lines,
    drift_lines,
    forgotten_lines,
    impact_lines,
    is_beyond_apply,
    note_lines,
    placement_lines,
    refusal_lines,
    unmanaged_lines,
    unplaced_lines,
)
from reconciler.views.step_words import SYMBOLS, cards_of, changed_fields, reason_of, remarks, size_of, source_of
from reconciler.views.style import Cell, Style, columns, joined, paragraph, plural, table

_LEGEND = {"+": "pull or load", "-": "unload", "x": "delete from disk", "~": "reload or update", "=": "adopt, as it is", ">": "wait"}

_LEGEND_OF_OTHERS = {"+": "pull, load or create", "x": "remove"}
"""With steps about other kinds of resources than models."""

MOST_NEW_LINES = 20


class Detail(StrEnum):
    """How much of a plan is told: its counts and what it costs; the steps and what has no place too; everything."""

    SUMMARY = "summary"
    CHANGES = "changes"
    FULL = "full"


def plan_text(plan: Plan, *, colour: bool = False, width: int = 100, detail: Detail = Detail.FULL) -> str:
    """The plan as text; begins `No changes.` when there is no step. Names and reasons from nodes are escaped."""
    style = Style(colour, width)
    full, changes = detail is Detail.FULL, detail is not Detail.SUMMARY
    blocks = [
        [*_supposed(plan, style), *_opening(plan, style, changes), *_selection(plan, style)],
        drift_lines(plan.drift, style) if changes else [],
        _changes(plan, style, full) if changes else [],
        cards_text(plan.gpus, style) if full and plan.steps else [],
        unplaced_lines(plan.unplaced, style) if changes else [],
        placement_lines(plan.placement, plan.unplaced, style) if changes else [],
        deferred_lines(plan.deferred, style) if changes else [],
        unmanaged_lines(plan.unmanaged, style) if full else [],
        forgotten_lines(plan.forgotten, style) if changes else [],
        note_lines(plan.warnings, style) if full else [],
        impact_lines(plan.impact, style),
        refusal_lines(plan.refusals, style),
        [*_summary(plan, style), *_identity(plan, style)] if plan.steps else [],
    ]
    return joined("\n".join(block) + "\n" for block in blocks if block)


NOT_TO_APPLY = "Nothing of it is so, and no apply takes this plan."


def made_words(plan: Plan) -> str:
    """When it was made, and what was applied before."""
    return f"made {plan.created_at}, {f'after apply {plan.serial}' if plan.lineage is not None and plan.serial else 'before any apply'}"


def _identity(plan: Plan, style: Style) -> list[str]:
    return [style.paint(line, "dim") for line in (escape(plan.digest), escape(made_words(plan)))]


def _summary(plan: Plan, style: Style) -> list[str]:
    """`Plan: 1 to pull, 2 to load, 1 to unload, 0 to reload. 12 unchanged.`, with the rarer counts only where there are any."""
    counts = plan_summary(plan)
    parts = [f"{counts[action]} to {action}" for action in ("pull", "load", "unload", "reload")]
    parts += [f"{counts[action]} to {word}" for action, word in _RARE if counts[action]]
    tails = [f"{counts['unchanged']:,} unchanged."]
    tails += [
        f"{counts[name]:,} {words}."
        for name, words in (("unplaced", "without a place"), ("held", "held"), ("deferred", "deferred"))
        if counts[name]
    ]
    first, *rest = paragraph(f"Plan: {', '.join(parts)}. {' '.join(tails)}", style, "", "  ")
    return [first.replace("Plan:", style.heading("Plan:"), 1), *rest]


_RARE = (("tag", "tag"), ("adopt", "adopt"), ("update", "update"), ("wait", "wait for"), ("create", "create"), ("remove", "remove"))


def _opening(plan: Plan, style: Style, steps_follow: bool) -> list[str]:
    if not plan.steps:
        return [_nothing_to_do(plan, style)]
    used = {SYMBOLS[step.action][0]: SYMBOLS[step.action][1] for step in plan.steps}
    words = {**_LEGEND, **(_LEGEND_OF_OTHERS if any(not isinstance(step, ModelStep) for step in plan.steps) else {})}
    if plan.count(Action.TAG):
        words["+"] = words["+"].replace("pull", "pull, tag", 1)
    signs = [sign for sign in words if sign in used]
    legend = ", ".join(f"{style.paint(sign, used[sign])} {words[sign]}" for sign in signs)
    will = "will" if plan.supposing is None else "would"
    first = f"gpurec {will} make these changes to fleet {style.heading(plan.fleet)}:"
    if not steps_follow:
        return [first]
    taken = len(f"gpurec {will} make these changes to fleet {escape(plan.fleet)}:  " + ", ".join(f"{sign} {words[sign]}" for sign in signs))
    return [f"{first}  {legend}"] if taken <= style.width else [first, f"  {legend}"]


def _nothing_to_do(plan: Plan, style: Style) -> str:
    start = style.paint("No changes.", "bold")
    lacks = []
    for word, count in (("replica", _without_place(plan, False)), ("agent", _without_place(plan, True))):
        lacks += [f"{plural(count, f'{word} has', f'{word}s have')} no place"] if count else []
    if plan.held:
        lacks.append(f"{plural(len(plan.held), 'replica is', 'replicas are')} held")
    if count := len({one.address for one in plan.drift if is_beyond_apply(one)}):
        lacks.append(f"{plural(count, 'replica is', 'replicas are')} not as wanted, which no apply can change")
    if count := len(plan.deferred):
        what = "engine" if all(one.engine for one in plan.deferred) else "node, engine or file"
        some = what.replace("file", "files").replace("engine", "engines").replace("node", "nodes")
        lacks.append(f"{plural(count, f'{what} is', f'{some} are')} unknown")
    if plan.refusals:
        lacks.append("a guard refuses what is left to do")
    if lacks:
        return f"{start} Nothing can be done now for fleet {style.heading(plan.fleet)}: {' and '.join(lacks)}."
    replicas, others = plan.unchanged - plan.unchanged_others, plan.unchanged_others
    counts = [plural(replicas, "replica")] if replicas else []
    counts += [plural(others, "other resource" if replicas else "resource")] if others else []
    kept = f": {' and '.join(counts)} unchanged" if counts else ""
    return f"{start} Fleet {style.heading(plan.fleet)} is as desired{kept}."


def _without_place(plan: Plan, agents: bool) -> int:
    return sum(one.count for one in plan.unplaced if (one.agent is not None) is agents)


def _supposed(plan: Plan, style: Style) -> list[str]:
    return [] if plan.supposing is None else paragraph(f"What if {plan.supposing}? {NOT_TO_APPLY}", style, "", "  ")


def _selection(plan: Plan, style: Style) -> list[str]:
    back = [f"It goes back to what was applied at serial {plan.rollback}."] if plan.rollback is not None else []
    asked = [f"--{name} {pattern}" for name, pattern in (("limit", plan.limit), ("exclude", plan.exclude)) if pattern is not None]
    only = paragraph(f"Only with {' '.join(asked)}: everything else counts where it is.", style, "", "") if asked else []
    return [*back, *only]


def _changes(plan: Plan, style: Style, full: bool) -> list[str]:
    lines = table([_row(step) for step in plan.steps], style)
    shown = []
    for step, row in zip(plan.steps, lines, strict=True):
        shown += row
        if fields := changed_fields(step):
            shown += columns([[Cell(name), Cell(words)] for name, words in fields], style, "      ")
        if not full:
            continue
        if told := remarks(step):
            shown += columns([[Cell(label, "dim"), Cell(words)] for label, words in told], style, "      ")
        shown += [f"      {escape(text)}" for text in _beginning(step)]
    return shown


def _beginning(step: Step) -> list[str]:
    """The lines of a step. Of what is new, and has nothing to be compared with, the first: all of a file is in its template."""
    lines = list(step.lines())
    added = [number for number, line in enumerate(lines) if line.startswith("+")]
    if step.action is not Action.CREATE or len(added) <= MOST_NEW_LINES:
        return lines
    first, last = added[MOST_NEW_LINES], added[-1]
    return [*lines[:first], f"… {last + 1 - first:,} more new lines: --format json, markdown or html", *lines[last + 1 :]]


def _row(step: Step) -> list[Cell]:
    sign, look = SYMBOLS[step.action]
    return [
        Cell(f"{sign} {step.action.value}", look),
        Cell(step.address),
        Cell(size_of(step), right=True),
        Cell(source_of(step), "dim"),
        Cell(cards_of(step)),
        Cell(reason_of(step)),
    ]
