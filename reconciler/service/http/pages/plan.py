"""The plan with the form that has it carried out, and drift."""

from __future__ import annotations

from reconciler.operations.proposal import Proposal
from reconciler.views.html import drift_section, plan_sections
from reconciler.views.html.elements import Content, code, tag


def plan_body(seen: Proposal) -> Content:
    head, *sections = plan_sections(seen.plan)
    return [head, *_approval(seen), *sections]


def _approval(seen: Proposal) -> list[Content]:
    plan = seen.plan
    if not plan.steps:
        return []
    field = tag("input", type="password", name="token", id="token", required=True, autocomplete="off")
    form = tag(
        "form",
        tag("input", type="hidden", name="digest", value=plan.digest),
        tag("label", "Token of the role apply", field, for_="token"),
        tag("button", "Carry out just this plan", type="submit"),
        method="post",
        action="/approve",
        class_="line",
    )
    said = ["Just the plan ", code(plan.digest), " is carried out; where another one is due by then, nothing is. Nothing keeps the token."]
    return [tag("section", tag("h2", "Approve"), tag("p", *said, class_="quiet"), form, aria_label="Approve")]


def drift_body(seen: Proposal) -> Content:
    """What is not as it was last applied."""
    found = drift_section(seen.plan.drift)
    return [tag("h1", f"Drift of fleet {seen.plan.fleet}"), found or tag("p", "Nothing has drifted since the last apply.")]
