"""The page: how the fleet stands, what is wrong, its cards, what the next apply would do, and the last runs. It works without a script."""

from __future__ import annotations

from collections.abc import Sequence

from reconciler.fleet import format_bytes, format_duration
from reconciler.operations.proposal import Proposal
from reconciler.service.conditions import Conditions
from reconciler.state import RunRecord
from reconciler.views.html.cards import cards_section
from reconciler.views.html.elements import Content, code, tag
from reconciler.views.html.page import page, page_policy
from reconciler.views.step_words import counts_words

PAGE_POLICY = page_policy() + "; frame-ancestors 'none'"
MOST_SHOWN = 200
"""Conditions on the page; the API has all."""


def page_of(seen: Proposal | None, holding: Conditions, runs: Sequence[RunRecord]) -> str:
    """The whole page as HTML."""
    if seen is None:
        return page("gpurec", tag("main", tag("h1", "gpurec"), tag("p", "The fleet was not looked at yet."), _conditions(holding)))
    plan = seen.plan
    does = counts_words(plan.steps) if plan.steps else "no changes"
    facts: list[tuple[str, Content]] = [
        ("looked at", plan.created_at),
        ("as wanted", f"{plan.unchanged:,}"),
        ("serial", str(plan.serial)),
        ("plan", does),
        *([("digest", code(plan.digest))] if plan.steps else []),
    ]
    return page(
        f"gpurec: fleet {plan.fleet}",
        tag(
            "main",
            tag("h1", f"Fleet {plan.fleet}"),
            tag("dl", *([tag("dt", name), tag("dd", value)] for name, value in facts), class_="facts"),
            _conditions(holding),
            _steps(seen),
            cards_section(plan.gpus) if plan.steps else None,
            _cards(seen),
            _runs(runs),
        ),
    )


def _conditions(holding: Conditions) -> Content:
    if not holding:
        return tag("p", "All is as it should be.")
    shown = list(holding.values())[:MOST_SHOWN]
    left = len(holding) - len(shown)
    return [
        tag("h2", "1 thing is not as it should be" if len(holding) == 1 else f"{len(holding):,} things are not as they should be"),
        tag("ul", *(tag("li", tag("strong", one.topic.value), " ", code(one.subject), ": ", one.message) for one in shown)),
        tag("p", f"and {left:,} more: /v1/conditions") if left else None,
    ]


def _steps(seen: Proposal) -> Content:
    steps = seen.plan.steps
    if not steps:
        return None
    shown = steps[:MOST_SHOWN]
    rows = (tag("li", step.action.value, " ", code(step.address), ": ", step.reason.message) for step in shown)
    approve = f'{{"digest": "{seen.plan.digest}"}}'
    return [
        tag("h2", "What the next apply would do"),
        tag("ol", *rows),
        tag("p", f"and {len(steps) - len(shown):,} more: /v1/plan") if len(steps) > len(shown) else None,
        tag("p", "To have just this done: ", code("POST /v1/apply"), " with ", code(approve), " and a token of the role apply."),
    ]


def _cards(seen: Proposal) -> Content:
    """Every card as it is now, as the plan counts."""
    if not seen.plan.gpus:
        return None
    shown = seen.plan.gpus[:MOST_SHOWN]
    heads = ("card", "", "models", "foreign", "of usable", "free")
    rows = []
    for card in shown:
        free = None if card.usable_bytes is None else max(0, card.usable_bytes - card.before_bytes - (card.foreign_bytes or 0))
        texts = (
            f"{card.node}/{card.gpu}" + (" (assumed)" if card.assumed else ""),
            card.name or "",
            format_bytes(card.before_bytes),
            "unknown" if card.foreign_bytes is None else format_bytes(card.foreign_bytes),
            "unknown" if card.usable_bytes is None else format_bytes(card.usable_bytes),
            "unknown" if free is None else format_bytes(free),
        )
        rows.append(tag("tr", *(tag("td", text) for text in texts)))
    left = len(seen.plan.gpus) - len(shown)
    return [
        tag("h2", "Cards now"),
        tag("table", tag("thead", tag("tr", *(tag("th", name, scope="col") for name in heads))), tag("tbody", *rows)),
        tag("p", f"and {left:,} more: /v1/allocations") if left else None,
    ]


def _runs(runs: Sequence[RunRecord]) -> Content:
    if not runs:
        return None
    heads = tag("tr", *(tag("th", name, scope="col") for name in ("run", "began", "by", "steps", "took", "ended", "command")))
    rows = (
        tag(
            "tr",
            tag("td", str(run.id)),
            tag("td", run.started_at),
            tag("td", f"{run.who}@{run.host}"),
            tag("td", ", ".join(f"{count} {status}" for status, count in sorted(run.steps.items())) or "none"),
            tag("td", "" if run.seconds is None else format_duration(run.seconds)),
            tag("td", run.result or "runs"),
            tag("td", code(run.command)),
        )
        for run in runs
    )
    return [tag("h2", "Runs"), tag("table", tag("thead", heads), tag("tbody", *rows))]
