"""A drift report as markdown, for the issue or comment that a nightly run keeps up to date."""

from __future__ import annotations

from reconciler.planning.drift_memory import DriftReport
from reconciler.views.drift_text import drift_headline, pending_lines
from reconciler.views.markdown.budget import Part, Whole, share
from reconciler.views.markdown.layout import heading
from reconciler.views.markdown.neutral import code, prose
from reconciler.views.markdown.plan import LEAST_BYTES
from reconciler.views.markdown.sections import deferred_part, drift_part, forgotten_part, notes_part
from reconciler.views.plan_text import made_words
from reconciler.views.style import plural


def drift_markdown(report: DriftReport, max_bytes: int) -> str:
    """The drift in at most `max_bytes` bytes of UTF-8, under the rules of `plan_markdown`."""
    if max_bytes < LEAST_BYTES:
        raise ValueError(f"a drift report takes {LEAST_BYTES} bytes at least")
    plan = report.plan
    bold, rest = drift_headline(report)
    lines = [f"{heading(3)} gpurec drift of {code(plan.fleet, 64)}: {bold}", "", prose(rest, 200)]
    if report.older:
        lines += ["", f"{plural(len(report.older), 'field')} drifted before {code(report.since or '', 40)} and not shown."]
    lines += [line for text in pending_lines(plan.pending) for line in ("", prose(text))]
    lines += ["", f"Report {prose(made_words(plan), 100)}", ""]
    parts: list[Part] = [
        Whole("\n".join(lines) + "\n"),
        drift_part(report.counted),
        drift_part(report.waiting, f"Seen in fewer than {report.in_a_row:,} runs in a row"),
        deferred_part(plan.deferred),
        notes_part(plan.held, "Held"),
        forgotten_part(plan.forgotten),
    ]
    return "".join(share(parts, max_bytes)[0]).rstrip() + "\n"
