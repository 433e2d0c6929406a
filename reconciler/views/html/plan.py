"""A plan as a page: what it does and costs, cards as bars, steps over time, each node, and whatever has no place or is not known."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from reconciler.fleet import LOCAL, format_bytes
from reconciler.planning.plan import Deferred, Drift, Impact, Note, Plan, Step, UnmanagedResident, Unplaced
from reconciler.views.document import plan_summary
from reconciler.views.html.cards import cards_section
from reconciler.views.html.elements import Content, Html, code, tag
from reconciler.views.html.looks import look_of
from reconciler.views.html.page import page
from reconciler.views.html.timeline import timeline_section
from reconciler.views.plan_text import NOT_TO_APPLY, made_words
from reconciler.views.sections import away_words, drift_words, for_whom, what_lacks, without_restarts
from reconciler.views.step_words import SYMBOLS, cards_of, changed_fields, counts_words, reason_of, remarks, size_of, source_of
from reconciler.views.style import beside, plural

OPEN_NODES = 12
"""Folds of so many nodes stand open; of more all are closed."""
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
    return [
        _head(plan, counts_words(plan.steps) if plan.steps else "no changes"),
        _impact(plan.impact),
        _unplaced(plan.unplaced),
        cards_section(plan.gpus) if plan.steps else None,
        timeline_section(plan.steps),
        _nodes(plan.steps),
        drift_section(plan.drift),
        _notes(plan.warnings),
        _deferred(plan.deferred),
        _unmanaged(plan.unmanaged),
        _list("Forgotten by an apply: gone, or of an engine that left the inventory", [[code(one)] for one in plan.forgotten]),
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


def _list(title: str, rows: Sequence[Content]) -> Content:
    return [tag("h2", title), tag("ul", *(tag("li", row, data_row=True) for row in rows))] if rows else None


def _impact(impact: Impact) -> Content:
    for_good = {move.model: move.by for move in impact.moves if move.to is None}
    rows: list[Content] = [
        [code(model), " ", away_words(seconds, for_good.get(model))]
        for model, seconds in sorted(impact.downtime_seconds.items())
        if seconds != 0
    ]
    moves = {move.address: move for move in impact.moves}
    rows += [["evicts ", code(name), " ", for_whom(moves.get(name))] for name in impact.evictions]
    rows += [
        ["moves ", code(move.model), " from ", code(move.address.rpartition("@")[2]), " to ", code(move.to.rpartition("@")[2])]
        for move in impact.moves
        if move.to is not None and move.address not in impact.evictions
    ]
    if impact.download_bytes is None:
        rows.append("a download of unknown size")
    elif impact.download_bytes:
        rows.append(f"a download of about {format_bytes(impact.download_bytes)}")
    return _list("Impact", rows)


def _unplaced(unplaced: Sequence[Unplaced]) -> Content:
    rows: list[Content] = []
    for one in unplaced:
        total = sum(one.candidate_counts.values())
        counts = ", ".join(
            f"{why} on {count:,}" for why, count in sorted(one.candidate_counts.items(), key=lambda item: (-item[1], item[0]))
        )
        inside: list[Content] = [["would fit if ", tag("strong", hint)] for hint in one.would_fit_if]
        inside += [[code(each.engine), ": ", each.message or each.reason] for each in one.candidates]
        inside += [f"of {plural(total, 'engine')}: {counts}"] if total > len(one.candidates) else []
        inside += [] if one.candidates or total else ["no engine could serve it"]
        rows.append([code(one.model), f": {what_lacks(one)}", tag("ul", *(tag("li", line) for line in inside))])
    return _list("No place for", rows)


def _nodes(steps: Sequence[Step]) -> Content:
    if not steps:
        return None
    numbers = {step.id: number for number, step in enumerate(steps, 1)}
    by_node: dict[str, list[Step]] = defaultdict(list)
    for step in steps:
        by_node[step.node].append(step)
    opened = len(by_node) <= OPEN_NODES
    return [tag("h2", "Changes, by node"), *(_node(node, some, numbers, opened) for node, some in by_node.items())]


def _node(node: str, steps: Sequence[Step], numbers: dict[str, int], opened: bool) -> Html:
    name: Content = "this machine" if node == LOCAL else code(node)
    head = tag("tr", *(tag("th", title, class_=look, scope="col") for title, look in _STEP_COLUMNS))
    rows = [_step(step, numbers) for step in steps]
    table = tag("table", tag("thead", head), tag("tbody", *rows))
    diffs = [[tag("p", code(step.address)), _diff(step.lines())] for step in steps if step.lines()]
    scroll = tag("div", table, class_="scroll", tabindex="0", role="region", aria_label=f"Steps of {node}")
    return tag("details", tag("summary", name, f": {counts_words(steps)}"), scroll, *diffs, open=opened)


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
    sign = SYMBOLS[step.action][0]
    beneath = [tag("div", code(name), " ", words, class_="quiet") for name, words in (*changed_fields(step), *remarks(step))]
    source = source_of(step)
    waits = sorted(numbers[need] for need in step.needs if need in numbers)
    shown = ", ".join(map(str, waits[:8])) + (f" and {len(waits) - 8} more" if len(waits) > 8 else "")
    return tag(
        "tr",
        tag("td", str(numbers[step.id]), class_="number"),
        tag("td", f"{sign} {step.action.value}", class_=f"act {look_of(step.action)}"),
        tag("td", code(step.address)),
        tag("td", size_of(step), tag("div", source, class_="quiet") if source else None, class_="number"),
        tag("td", cards_of(step)),
        tag("td", reason_of(step), *beneath),
        tag("td", shown, class_="number"),
        data_row=True,
    )


def _diff(lines: Sequence[str]) -> Html:
    looks = {"+": "plus", "-": "minus"}
    return tag("pre", *([tag("span", line, class_=looks.get(line[:1])), Html("\n")] for line in lines))


def drift_section(drift: Sequence[Drift]) -> Content:
    rows = [
        tag(
            "tr",
            tag("td", one.kind, class_="act change"),
            tag("td", code(one.address)),
            tag("td", drift_words(one)),
            tag("td", one.klass, class_="quiet"),
            data_row=True,
        )
        for one in without_restarts(drift)
    ]
    if not rows:
        return None
    head = tag("tr", *(tag("th", title, scope="col") for title in ("kind", "where", "what", "class")))
    table = tag("table", tag("thead", head), tag("tbody", *rows))
    return [tag("h2", "Drift"), tag("div", table, class_="scroll", tabindex="0", role="region", aria_label="Drift")]


def _notes(notes: Sequence[Note]) -> Content:
    return _list("Warnings", [[code(one.address), ": ", one.message] if one.address else one.message for one in notes])


def _deferred(deferred: Sequence[Deferred]) -> Content:
    rows: list[Content] = [
        [code(f"{one.node}/{one.engine}" if one.engine else one.node), ": ", beside(f"{one.node}/{one.engine}", one.reason)]
        for one in deferred
    ]
    return _list("Deferred, since nothing is known about it now", rows)


def _unmanaged(unmanaged: Sequence[UnmanagedResident]) -> Content:
    rows: list[Content] = []
    for one in unmanaged:
        size = "bytes unknown" if one.vram_bytes is None else format_bytes(one.vram_bytes)
        pinned = {True: ", pinned", False: ", expires by itself", None: ""}[one.pinned]
        rows.append([code(one.name), " on ", code(f"{one.node}/{one.engine}"), f": {size}{pinned}"])
    return _list("Unmanaged residents, left alone with their bytes reserved", rows)
