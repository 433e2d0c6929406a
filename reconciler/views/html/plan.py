"""A plan as a page: what it does and costs, cards as bars, steps over time, each node, and whatever has no place or is not known."""

from __future__ import annotations

from collections.abc import Sequence

from reconciler.fleet import LOCAL, format_bytes
from reconciler.planning.plan import Deferred, Drift, Impact, Note, Plan, Step, UnmanagedResident, Unplaced
from reconciler.views.alike import FEW_NODES, AlikeNodes, AlikeSteps, alike_nodes, alike_steps, and_alike
from reconciler.views.document import plan_summary
from reconciler.views.html.cards import cards_section
from reconciler.views.html.elements import Content, Html, code, left_out, tag
from reconciler.views.html.looks import look_of
from reconciler.views.html.page import page
from reconciler.views.html.timeline import timeline_section
from reconciler.views.plan_text import NOT_TO_APPLY, made_words
from reconciler.views.sections import asked_noun, away, away_words, drift_words, for_whom, what_lacks, without_restarts
from reconciler.views.step_words import SYMBOLS, cards_of, changed_fields, counts_words, reason_of, remarks, size_of, source_of
from reconciler.views.style import beside, bounded, plural

MOST_STEPS = 400
"""Rows of steps in the folds of nodes."""
MOST_LINES = 3000
"""Lines of all diffs together."""
MOST_ROWS = 100
"""Rows of every other list."""
_FACTS = (
    ("unchanged", "unchanged"),
    ("unplaced", "without a place"),
    ("held", "held"),
    ("deferred", "deferred"),
    ("drift", "drifted"),
    ("pending", "pending"),
)


def plan_html(plan: Plan) -> str:
    """The whole plan as one HTML document."""
    does = counts_words(plan.steps) if plan.steps else "no changes"
    return page(
        f"gpurec plan for {plan.fleet}: {does}",
        tag("main", plan_sections(plan)),
    )


def plan_sections(plan: Plan) -> list[Content]:
    """What a page has of a plan, its heading first."""
    nodes, left = _shown_nodes(plan.steps)
    return [
        _head(plan, counts_words(plan.steps) if plan.steps else "no changes"),
        _impact(plan.impact),
        _unplaced(plan.unplaced),
        _together(plan.steps),
        cards_section(plan.gpus) if plan.steps else None,
        timeline_section(plan.steps, {step.id for node in nodes for step in node.steps}),
        _nodes(plan.steps, nodes, left),
        drift_section(plan.drift),
        _notes(plan.warnings),
        _deferred(plan.deferred),
        _unmanaged(plan.unmanaged),
        _list("Forgotten by an apply: gone, or of an engine that left the inventory", [[code(one)] for one in plan.forgotten], "addresses"),
    ]


def _head(plan: Plan, does: str) -> Content:
    counts = plan_summary(plan) | {"drift": len(without_restarts(plan.drift))}  # as many as it shows
    asked = [f"--{name} {pattern}" for name, pattern in (("limit", plan.limit), ("exclude", plan.exclude)) if pattern]
    facts: list[tuple[str, Content]] = [("fleet", code(plan.fleet)), ("made", made_words(plan).removeprefix("made "))]
    facts += [("digest", code(plan.digest))] if plan.steps else []
    facts += [("counts", ", ".join(f"{counts[name]:,} {words}" for name, words in _FACTS if counts[name] or name == "unchanged"))]
    facts += [("only with", [code(" ".join(asked)), ": everything else counts where it is"])] if asked else []
    facts += [("what if", f"{plan.supposing}? {NOT_TO_APPLY}")] if plan.supposing is not None else []
    facts += [("goes back to", f"what was applied at serial {plan.rollback}")] if plan.rollback is not None else []
    refused = [tag("div", tag("strong", f"Refused by guard {one.guard}"), tag("p", one.message), class_="alert") for one in plan.refusals]
    field = tag("input", type="search", id="filter", placeholder="Filter by node, model, action, reason", aria_label="Filter")
    return [
        tag("h1", f"Plan: {does}"),
        tag("dl", *([tag("dt", name), tag("dd", value)] for name, value in facts), class_="facts"),
        *refused,
        tag("div", field, " ", tag("span", id="count", class_="quiet", role="status"), class_="filter", hidden=True),
    ]


def _list(title: str, rows: Sequence[Content], what: str) -> Content:
    if not rows:
        return None
    shown, left = bounded(rows, MOST_ROWS)
    return [tag("h2", title), tag("ul", *(tag("li", row, data_row=True) for row in shown)), left_out(left, what)]


def _impact(impact: Impact) -> Content:
    rows: list[Content] = [[code(model), " ", away_words(seconds)] for model, seconds in away(impact)]
    rows += [["evicts ", code(name), " ", for_whom(name, impact)] for name in impact.evictions]
    rows += [
        ["moves ", code(move.model), " from ", code(move.address.rpartition("@")[2]), " to ", code(move.to.rpartition("@")[2])]
        for move in impact.moves
        if move.to is not None and move.address not in impact.evictions
    ]
    if impact.download_bytes is None:
        rows.append("a download of unknown size")
    elif impact.download_bytes:
        rows.append(f"a download of about {format_bytes(impact.download_bytes)}")
    return _list("Impact", rows, "lines of the impact")


def _unplaced(unplaced: Sequence[Unplaced]) -> Content:
    rows: list[Content] = []
    for one in unplaced:
        total = sum(one.candidate_counts.values())
        counts = ", ".join(
            f"{why} on {count:,}" for why, count in sorted(one.candidate_counts.items(), key=lambda item: (-item[1], item[0]))
        )
        inside: list[Content] = [["would fit if ", tag("strong", hint)] for hint in one.would_fit_if]
        inside += [[code(each.engine), ": ", each.message or each.reason] for each in one.candidates]
        inside += [f"of {plural(total, asked_noun(one))}: {counts}"] if total > len(one.candidates) else []
        inside += [] if one.candidates or total or one.agent is not None else ["no engine could serve it"]
        rows.append([code(one.shown), f": {what_lacks(one)}", tag("ul", *(tag("li", line) for line in inside))])
    return _list("No place for", rows, "models or agents without a place")


def _shown_nodes(steps: Sequence[Step]) -> tuple[Sequence[AlikeNodes], Sequence[AlikeNodes]]:
    """The nodes whose steps the page has, and those that it leaves out. Where it cannot have all, what takes something away comes first."""
    nodes = alike_nodes(steps)
    if sum(len(one.steps) for one in nodes) <= MOST_STEPS:
        return nodes, ()
    nodes.sort(key=lambda one: not any(look_of(step.action) in ("take", "change") for step in one.steps))
    rows, shown = 0, 0
    while shown < len(nodes) and (rows := rows + min(len(nodes[shown].steps), MOST_ROWS)) <= MOST_STEPS:
        shown += 1
    return nodes[:shown], nodes[shown:]


def _together(steps: Sequence[Step]) -> Content:
    """What is done on many nodes, each change once."""
    if len({step.node for step in steps}) <= FEW_NODES:
        return None
    rows, left = bounded(alike_steps(steps), MOST_ROWS)
    columns = (("action", None), ("what", None), ("steps", "number"), ("nodes", "number"), ("bytes each", "number"), ("why", None))
    head = tag("tr", *(tag("th", title, class_=look, scope="col") for title, look in columns))
    table = tag("table", tag("thead", head), tag("tbody", *map(_alike_row, rows)))
    return [
        tag("h2", "Changes, alike ones together"),
        tag("div", table, class_="scroll", tabindex="0", role="region", aria_label="Changes, alike ones together"),
        left_out(left, "changes"),
    ]


def _alike_row(one: AlikeSteps) -> Html:
    return tag(
        "tr",
        _action(one.first),
        tag("td", code(one.what)),
        tag("td", f"{one.count:,}", class_="number"),
        tag("td", f"{one.nodes:,}", class_="number"),
        tag("td", size_of(one.first), class_="number"),
        tag("td", reason_of(one.first)),
        data_row=True,
    )


def _nodes(steps: Sequence[Step], nodes: Sequence[AlikeNodes], left: Sequence[AlikeNodes]) -> Content:
    if not steps:
        return None
    numbers = {step.id: number for number, step in enumerate(steps, 1)}
    opened = len(nodes) <= FEW_NODES
    lines = MOST_LINES // max(1, sum(bool(step.lines()) for one in nodes for step in one.steps))
    count = sum(len(one.nodes) for one in left)
    counts = counts_words(step for one in left for step in one.steps for _ in one.nodes)
    return [
        tag("h2", "Changes, by node"),
        *(_node(one, numbers, lines, opened) for one in nodes),
        left_out(count, f"{'node' if count == 1 else 'nodes'} with changes ({counts})"),
    ]


def _node(alike: AlikeNodes, numbers: dict[str, int], lines: int, opened: bool) -> Html:
    node, steps = alike.nodes[0], alike.steps
    name: Content = "this machine" if node == LOCAL else code(node)
    others = len(alike.nodes) - 1
    names: Content = [[", " if at else "", one] for at, one in enumerate(alike.nodes)]
    every = tag("p", "The same on each of ", tag("span", names, data_names=True), ".", class_="quiet") if others else None
    shown, left = bounded(steps, MOST_ROWS)
    head = tag("tr", *(tag("th", title, class_=look, scope="col") for title, look in _STEP_COLUMNS))
    table = tag("table", tag("thead", head), tag("tbody", *(_step(step, numbers) for step in shown)))
    diffs = [[tag("p", code(step.address)), _diff(step.lines(), lines)] for step in shown if step.lines()]
    scroll = tag("div", table, class_="scroll", tabindex="0", role="region", aria_label=f"Steps of {node}")
    does = tag("summary", name, f"{and_alike(others)}: {counts_words(steps)}")
    return tag("details", does, scroll, left_out(left, "steps here"), *diffs, every, open=opened)


_STEP_COLUMNS = (
    ("step", "number"),
    ("action", None),
    ("what", None),
    ("bytes", "number"),
    ("where", None),
    ("why", None),
    ("after", "number"),
)


def _step(step: Step, numbers: dict[str, int]) -> Html:
    beneath = [tag("div", code(name), " ", words, class_="quiet") for name, words in (*changed_fields(step), *remarks(step))]
    source = source_of(step)
    waits = sorted(numbers[need] for need in step.needs if need in numbers)
    shown = ", ".join(map(str, waits[:8])) + (f" and {len(waits) - 8} more" if len(waits) > 8 else "")
    return tag(
        "tr",
        tag("td", str(numbers[step.id]), class_="number"),
        _action(step),
        tag("td", code(step.address)),
        tag("td", size_of(step), tag("div", source, class_="quiet") if source else None, class_="number"),
        tag("td", cards_of(step)),
        tag("td", reason_of(step), *beneath),
        tag("td", shown, class_="number"),
        data_row=True,
    )


def _action(step: Step) -> Html:
    return tag("td", f"{SYMBOLS[step.action][0]} {step.action.value}", class_=f"act {look_of(step.action)}")


def _diff(lines: Sequence[str], most: int) -> Content:
    looks = {"+": "plus", "-": "minus"}
    shown, left = bounded(lines, most)
    pre = tag("pre", *([tag("span", line, class_=looks.get(line[:1])), Html("\n")] for line in shown))
    return [pre, left_out(left, "lines of the diff")]


def drift_section(drift: Sequence[Drift]) -> Content:
    told = without_restarts(drift)
    if not told:
        return None
    shown, left = bounded(told, MOST_ROWS)
    rows = [
        tag(
            "tr",
            tag("td", one.kind, class_="act change"),
            tag("td", code(one.address)),
            tag("td", drift_words(one)),
            tag("td", one.klass, class_="quiet"),
            data_row=True,
        )
        for one in shown
    ]
    head = tag("tr", *(tag("th", title, scope="col") for title in ("kind", "where", "what", "class")))
    table = tag("table", tag("thead", head), tag("tbody", *rows))
    region = tag("div", table, class_="scroll", tabindex="0", role="region", aria_label="Drift")
    return [tag("h2", "Drift"), region, left_out(left, "fields that drifted")]


def _notes(notes: Sequence[Note]) -> Content:
    return _list("Warnings", [[code(one.address), ": ", one.message] if one.address else one.message for one in notes], "warnings")


def _deferred(deferred: Sequence[Deferred]) -> Content:
    rows: list[Content] = [
        [code(f"{one.node}/{one.engine}" if one.engine else one.node), ": ", beside(f"{one.node}/{one.engine}", one.reason)]
        for one in deferred
    ]
    return _list("Deferred, since nothing is known about it now", rows, "nodes, engines or files")


def _unmanaged(unmanaged: Sequence[UnmanagedResident]) -> Content:
    rows: list[Content] = []
    for one in unmanaged:
        size = "bytes unknown" if one.vram_bytes is None else format_bytes(one.vram_bytes)
        pinned = {True: ", pinned", False: ", expires by itself", None: ""}[one.pinned]
        rows.append([code(one.name), " on ", code(f"{one.node}/{one.engine}"), f": {size}{pinned}"])
    return _list("Unmanaged residents, left alone with their bytes reserved", rows, "unmanaged residents")
