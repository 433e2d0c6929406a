"""A drift report: what differs from what was last applied, with what is merely pending counted apart."""

from __future__ import annotations

from reconciler.planning.drift_memory import DriftReport, Key, deferred_key, drift_key
from reconciler.planning.plan import Json
from reconciler.views.document import plan_contents
from reconciler.views.escape import escape
from reconciler.views.sections import deferred_lines, drift_lines, forgotten_lines, is_beyond_apply, note_lines, without_restarts
from reconciler.views.style import Style, joined, plural

_KEYS = ("format_version", "fleet", "lineage", "serial", "config_digest", "created_at", "drift", "deferred")


def drift_text(report: DriftReport, *, colour: bool = False, width: int = 100) -> str:
    """The drift of a plan for people; begins `No drift.` when there is none, `No new drift.` when there is none of what was asked for."""
    style = Style(colour, width)
    plan = report.plan
    held = [note for note in plan.notes if note.code == "held"]
    blocks = [
        [_opening(report, style)],
        drift_lines(report.counted, style),
        drift_lines(report.waiting, style, f"Seen in fewer than {report.in_a_row:,} runs in a row"),
        [f"{plural(len(report.older), 'field')} drifted before {report.since}, and {_is(len(report.older))} not shown."]
        if report.older
        else [],
        deferred_lines(plan.deferred, style),
        forgotten_lines(plan.forgotten, style),
        note_lines(held, style),
        pending_lines(plan.pending),
    ]
    return joined("\n".join(block) + "\n" for block in blocks if block)


def _opening(report: DriftReport, style: Style) -> str:
    bold, rest = drift_headline(report)
    return f"{style.heading(bold)} {escape(rest)}"


def drift_headline(report: DriftReport) -> tuple[str, str]:
    """What there is, and what that means; not escaped."""
    plan = report.plan
    applied = plan.lineage is not None and plan.serial > 0
    if report.counted:
        drifted = f"{plural(len(without_restarts(report.counted)), 'field')} drifted."
        if all(map(is_beyond_apply, report.counted)):
            return drifted, f"Fleet {plan.fleet} is not as wanted, and no apply can change that."
        since = f"Fleet {plan.fleet} is not as apply {plan.serial} left it."
        return drifted, since if applied else f"Nothing was applied to fleet {plan.fleet} yet."
    if report.waiting or report.older:
        differs = f"differs in {plural(len(plan.drift), 'field')} that {_is(len(plan.drift))} not asked for"
        return "No new drift.", f"Fleet {plan.fleet} {differs}."
    if applied:
        return "No drift.", f"Fleet {plan.fleet} is as apply {plan.serial} left it, as far as it can be seen."
    return "No drift.", f"Nothing was applied to fleet {plan.fleet} yet."


def pending_lines(count: int) -> list[str]:
    if not count:
        return []
    return [f"{plural(count, 'replica is', 'replicas are')} pending: desired, not applied yet. `gpurec plan` shows what would change."]


def _is(count: int) -> str:
    return "is" if count == 1 else "are"


def drift_document(report: DriftReport) -> dict[str, Json]:
    """The drift report as JSON values: the same words as the plan document, with counts of drift, pending and deferred.

    With a memory each entry has `first_seen` and `runs`. `waiting` and `older` are there when they were asked for.
    """
    plan = report.plan
    document = plan_contents(plan)
    drift = {drift_key(entry): text for entry, text in zip(plan.drift, _objects(document["drift"]), strict=True)}
    deferred = [text | _memory(report, deferred_key(one)) for one, text in zip(plan.deferred, _objects(document["deferred"]), strict=True)]

    def told(key: Key) -> Json:
        return drift[key] | _memory(report, key)

    summary: dict[str, Json] = {"drift": len(report.counted), "pending": plan.pending, "deferred": len(plan.deferred)}
    asked: dict[str, Json] = {}
    if report.in_a_row > 1:
        summary["waiting"] = len(report.waiting)
        asked |= {"in_a_row": report.in_a_row, "waiting": [told(drift_key(entry)) for entry in report.waiting]}
    if report.since is not None:
        summary["older"] = len(report.older)
        asked |= {"since": report.since, "older": [told(drift_key(entry)) for entry in report.older]}
    body: dict[str, Json] = {
        "drift": [told(drift_key(entry)) for entry in report.counted],
        "deferred": [*deferred],
        "forgotten": [*plan.forgotten],
    }
    return {**{key: document[key] for key in _KEYS[:6]}, "summary": summary, **asked, **body}


def _objects(value: Json) -> list[dict[str, Json]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _memory(report: DriftReport, key: Key) -> dict[str, Json]:
    seen = report.seen.get(key)
    return {"first_seen": seen.first_seen, "runs": seen.runs} if seen is not None else {}
