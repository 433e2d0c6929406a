"""Runs, and the steps of one."""

from __future__ import annotations

from collections.abc import Sequence

from reconciler.fleet import format_duration
from reconciler.service.http.pages.fleet import why_link
from reconciler.service.http.pages.frame import facts, table
from reconciler.state import JournalRow, RunRecord
from reconciler.views.html.elements import Content, Html, address, code, tag


def runs_body(runs: Sequence[RunRecord]) -> Content:
    heads = ("run", "began", "by", "steps", "took", "ended", "command")
    rows = [_run(run) for run in runs]
    return [tag("h1", "History"), table("Runs", heads, rows) if rows else tag("p", "Nothing was applied yet.")]


def _run(run: RunRecord) -> Html:
    return tag(
        "tr",
        tag("td", tag("a", f"run {run.id}", href=address("history", str(run.id)))),
        tag("td", run.started_at),
        tag("td", f"{run.who}@{run.host}"),
        tag("td", _steps(run)),
        tag("td", _took(run.seconds)),
        tag("td", "goes on" if run.result == "running" else run.result),
        tag("td", code(run.command)),
        data_row=True,
    )


def _steps(run: RunRecord) -> str:
    return ", ".join(f"{count} {status}" for status, count in sorted(run.steps.items())) or "none"


def _took(seconds: float | None) -> str:
    return "" if seconds is None else format_duration(seconds)


def run_body(run: RunRecord, journal: Sequence[JournalRow]) -> Content:
    """One run, every step with how it ended and why."""
    rows = [
        tag(
            "tr",
            tag("td", one.action),
            tag("td", why_link(one.address)),
            tag("td", one.status.value),
            tag("td", _took(one.seconds), class_="number"),
            tag("td", one.started_at),
            tag("td", one.reason or ""),
            data_row=True,
        )
        for one in journal
    ]
    return [
        tag("h1", f"Run {run.id}"),
        facts(
            ("command", code(run.command)),
            ("by", f"{run.who}@{run.host}"),
            ("began", run.started_at),
            ("ended", f"{run.result} {run.finished_at or ''}"),
            ("took", _took(run.seconds)),
            ("serial", str(run.serial)),
            *([("plan", code(run.plan_digest))] if run.plan_digest else []),
        ),
        table("Steps", ("action", "what", "ended", "took", "began", "why"), rows, ("took",)) if rows else tag("p", "It had no steps."),
    ]
