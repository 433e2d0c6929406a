"""A plan for people: what changes and why, what the cards hold before and after, and what could not be placed or known."""

from __future__ import annotations

from reconciler.fleet import format_bytes
from reconciler.planning import CONTEXT_DROPPED
from reconciler.planning.kinds.model.step import ModelStep
from reconciler.planning.plan import FETCHES, Action, Plan, Step
from reconciler.views.cards import cards_text
from reconciler.views.document import plan_summary
from reconciler.views.escape import escape
from reconciler.views.models_text import measured_words
from reconciler.views.sections import (
    deferred_lines,
    drift_lines,
    forgotten_lines,
    impact_lines,
    is_beyond_apply,
    note_lines,
    refusal_lines,
    unmanaged_lines,
    unplaced_lines,
    value_text,
)
from reconciler.views.style import Cell, Style, columns, joined, paragraph, plural

SYMBOLS: dict[Action, tuple[str, str]] = {
    Action.PULL: ("+", "green"),
    Action.TAG: ("+", "green"),
    Action.LOAD: ("+", "green"),
    Action.CREATE: ("+", "green"),
    Action.UNLOAD: ("-", "red"),
    Action.REMOVE: ("x", "red"),
    Action.RELOAD: ("~", "yellow"),
    Action.UPDATE: ("~", "yellow"),
    Action.ADOPT: ("=", "cyan"),
    Action.WAIT: (">", "cyan"),
}
_LEGEND = {"+": "pull or load", "-": "unload", "x": "delete from disk", "~": "reload or update", "=": "adopt, as it is", ">": "wait"}

_LEGEND_OF_OTHERS = {"+": "pull, load or create", "x": "remove"}
"""With steps about other kinds of resources than models."""


def plan_text(plan: Plan, *, colour: bool = False, width: int = 100) -> str:
    """The whole plan as text; begins `No changes.` when there is no step. Names and reasons from nodes are escaped."""
    style = Style(colour, width)
    blocks = [
        [_opening(plan, style), *_selection(plan, style)],
        drift_lines(plan.drift, style),
        _changes(plan, style),
        cards_text(plan.gpus, style) if plan.steps else [],
        unplaced_lines(plan.unplaced, style),
        deferred_lines(plan.deferred, style),
        unmanaged_lines(plan.unmanaged, style),
        forgotten_lines(plan.forgotten, style),
        note_lines(plan.notes, style),
        impact_lines(plan.impact, style),
        refusal_lines(plan.refusals, style),
        [summary_line(plan, style)] if plan.steps else [],
    ]
    return joined("\n".join(block) + "\n" for block in blocks if block)


def summary_line(plan: Plan, style: Style) -> str:
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
    return f"{style.heading('Plan:')} {', '.join(parts)}. {' '.join(tails)}"


_RARE = (("tag", "tag"), ("adopt", "adopt"), ("update", "update"), ("wait", "wait for"), ("create", "create"), ("remove", "remove"))


def _opening(plan: Plan, style: Style) -> str:
    if plan.steps:
        used = {SYMBOLS[step.action][0]: SYMBOLS[step.action][1] for step in plan.steps}
        words = {**_LEGEND, **(_LEGEND_OF_OTHERS if any(not isinstance(step, ModelStep) for step in plan.steps) else {})}
        if plan.count(Action.TAG):
            words["+"] = words["+"].replace("pull", "pull, tag", 1)
        legend = ", ".join(f"{style.paint(sign, used[sign])} {words[sign]}" for sign in words if sign in used)
        return f"gpurec will make these changes to fleet {style.heading(plan.fleet)}:  {legend}"
    start = style.paint("No changes.", "bold")
    lacks = []
    if count := sum(one.count for one in plan.unplaced):
        lacks.append(f"{plural(count, 'replica has', 'replicas have')} no place")
    if plan.held:
        lacks.append(f"{plural(len(plan.held), 'replica is', 'replicas are')} held")
    if count := len({one.address for one in plan.drift if is_beyond_apply(one)}):
        lacks.append(f"{plural(count, 'replica is', 'replicas are')} not as wanted, which no apply can change")
    if plan.deferred:
        lacks.append(f"{plural(len(plan.deferred), 'node or engine is', 'nodes or engines are')} unknown")
    if plan.refusals:
        lacks.append("a guard refuses what is left to do")
    if lacks:
        return f"{start} Nothing can be done now for fleet {style.heading(plan.fleet)}: {' and '.join(lacks)}."
    kept = f": {plural(plan.unchanged, 'replica')} unchanged" if plan.unchanged else ""
    return f"{start} Fleet {style.heading(plan.fleet)} is as desired{kept}."


def _selection(plan: Plan, style: Style) -> list[str]:
    back = [f"It goes back to what was applied at serial {plan.rollback}."] if plan.rollback is not None else []
    asked = [f"--{name} {pattern}" for name, pattern in (("limit", plan.limit), ("exclude", plan.exclude)) if pattern is not None]
    only = paragraph(f"Only with {' '.join(asked)}: everything else counts where it is.", style, "", "") if asked else []
    return [*back, *only]


def _changes(plan: Plan, style: Style) -> list[str]:
    lines = columns([_row(step) for step in plan.steps], style)
    shown = []
    for step, line in zip(plan.steps, lines, strict=True):
        shown.append(line)
        if fields := _fields(step):
            shown += columns(fields, style, "      ")
        if isinstance(step, ModelStep):
            shown += _measured(step, style)
            shown += _variant(step, style)
        shown += [f"      {escape(text)}" for text in step.lines()]
    return shown


def _measured(step: ModelStep, style: Style) -> list[str]:
    """What was measured of a need, beside what is predicted of the same."""
    if not step.measured_bytes:
        return []
    words = measured_words(step.measured_bytes, step.reported_bytes, step.predicted_bytes)
    return columns([[Cell("measured", "dim"), Cell(words)]], style, "      ")


def _variant(step: ModelStep, style: Style) -> list[str]:
    """Why a load brings none of the better variants."""
    if step.variant is None or step.action in FETCHES:
        return []
    return columns([[Cell(f"not {one.name}", "dim"), Cell(one.message or one.reason)] for one in step.variant.passed_over], style, "      ")


def _row(step: Step) -> list[Cell]:
    sign, look = SYMBOLS[step.action]
    reason = step.reason.message or step.reason.code
    if not isinstance(step, ModelStep):
        return [Cell(f"{sign} {step.action.value}", look), Cell(step.address), Cell(""), Cell(""), Cell(""), Cell(reason)]
    derived = step.engine_name != step.base_name and step.action in (Action.LOAD, Action.RELOAD)
    derived = derived or step.variant is not None
    return [
        Cell(f"{sign} {step.action.value}", look),
        Cell(step.address),
        Cell(size_of(step), right=True),
        Cell(step.vram_source or "", "dim"),
        Cell(_card(step)),
        Cell(f"{reason} (as {step.engine_name})" if derived else reason),
    ]


def size_of(step: Step) -> str:
    """The bytes that a step is about, for people; empty where it is about none."""
    return "" if not isinstance(step, ModelStep) or step.vram_bytes is None else format_bytes(step.vram_bytes)


def _card(step: ModelStep) -> str:
    if step.gpus:
        return f"{'card' if len(step.gpus) == 1 else 'cards'} {','.join(map(str, step.gpus))}"
    if step.gpu_candidates:
        return f"a card of {','.join(map(str, step.gpu_candidates))}"
    return ""


def _fields(step: Step) -> list[list[Cell]]:
    """The fields that change. What is not asked for is left to the engine, so it is no change."""
    if step.action not in (Action.RELOAD, Action.UPDATE):
        return []
    after = {**step.after, "context": "the engine's own"} if step.reason.code == CONTEXT_DROPPED else step.after
    return [
        [Cell(name), Cell(f"{value_text(step.before[name])} → {value_text(after[name])}")]
        for name in sorted(step.before)
        if after.get(name) is not None and step.before[name] != after[name] and name not in step.unshown
    ]
