"""A drift report: what differs from what was last applied, with what is merely pending counted apart."""

from __future__ import annotations

from reconciler.planning.plan import Plan
from reconciler.views.document import Json, plan_contents
from reconciler.views.sections import deferred_lines, drift_lines, note_lines
from reconciler.views.style import Style, joined, plural

_KEYS = ("format_version", "fleet", "lineage", "serial", "config_digest", "created_at", "drift", "deferred")


def drift_text(plan: Plan, *, colour: bool = False, width: int = 100) -> str:
    """The drift of a plan for people; begins `No drift.` when there is none."""
    style = Style(colour, width)
    fleet = style.heading(plan.fleet)
    applied = plan.lineage is not None and plan.serial > 0
    if plan.drift:
        since = f"Fleet {fleet} is not as apply {plan.serial} left it." if applied else f"Nothing was applied to fleet {fleet} yet."
        opening = f"{style.paint(plural(len(plan.drift), 'field') + ' drifted.', 'bold')} {since}"
    elif applied:
        opening = f"{style.paint('No drift.', 'bold')} Fleet {fleet} is as apply {plan.serial} left it, as far as it can be seen."
    else:
        opening = f"{style.paint('No drift.', 'bold')} Nothing was applied to fleet {fleet} yet."
    pending = [
        f"{plural(plan.pending, 'replica is', 'replicas are')} pending: desired, not applied yet. `gpurec plan` shows what would change."
    ]
    held = [note for note in plan.notes if note.code == "held"]
    blocks = [
        [opening],
        drift_lines(plan.drift, style),
        deferred_lines(plan.deferred, style),
        note_lines(held, style),
        pending if plan.pending else [],
    ]
    return joined("\n".join(block) + "\n" for block in blocks if block)


def drift_document(plan: Plan) -> dict[str, Json]:
    """The drift report as JSON values: the same words as the plan document, with counts of drift, pending and deferred."""
    document = plan_contents(plan)
    summary: dict[str, Json] = {"drift": len(plan.drift), "pending": plan.pending, "deferred": len(plan.deferred)}
    return {**{key: document[key] for key in _KEYS[:6]}, "summary": summary, **{key: document[key] for key in _KEYS[6:]}}
