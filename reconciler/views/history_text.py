"""What earlier runs did: one line a run, and one run with its steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field

from reconciler.fleet import format_duration
from reconciler.value_class import value_class
from reconciler.views.style import Cell, Style, bounded, columns, joined, more, plural


@value_class
class RunRow:
    """One earlier run. `steps` counts its steps by how they ended; `seconds` None: not known, or still running."""

    run: int
    serial: int
    started_at: str
    who: str
    result: str
    command: str
    plan_digest: str
    seconds: float | None = None
    steps: Mapping[str, int] = field(default_factory=dict)
    unplaced: int = 0
    deferred: int = 0
    ci: str | None = None


@value_class
class RunStep:
    """One step of an earlier run; `status` is `started`, `done`, `satisfied`, `failed`, `skipped` or `interrupted`."""

    address: str
    action: str
    status: str
    reason: str | None = None
    seconds: float | None = None


_RESULTS = {"done": "green", "failed": "red", "partial": "yellow", "interrupted": "yellow", "running": "cyan"}
_STATUSES = {"done": "green", "satisfied": "green", "failed": "red", "skipped": "yellow", "interrupted": "yellow", "started": "cyan"}
_WORDS = {"satisfied": "already so", "started": "open"}


def history_text(runs: Sequence[RunRow], *, colour: bool = False, width: int = 100) -> str:
    """Earlier runs, newest first as given."""
    style = Style(colour, width)
    if not runs:
        return "Nothing was applied yet.\n"
    names = ("run", "started", "took", "result", "what", "serial", "by", "plan", "command")
    heads = [Cell(name, "dim", right=name in ("run", "took", "serial")) for name in names]
    rows = [
        [
            Cell(str(run.run), right=True),
            Cell(run.started_at),
            Cell(_took(run.seconds), right=True),
            Cell(run.result, _RESULTS.get(run.result)),
            Cell(what_was_done(run), sentence=True),
            Cell(str(run.serial), right=True),
            Cell(run.who),
            Cell(_short(run.plan_digest)),
            Cell(run.command),
        ]
        for run in runs
    ]
    return joined(columns([heads, *rows], style))


def run_text(run: RunRow, steps: Sequence[RunStep], *, colour: bool = False, width: int = 100) -> str:
    """One run: who, when, how long, with what result, and every step of it."""
    style = Style(colour, width)
    rows = [
        ("result", run.result, _RESULTS.get(run.result)),
        ("what", what_was_done(run), None),
        ("by", run.who, None),
        ("CI job", run.ci or "", None),
        ("command", run.command, None),
        ("started", run.started_at, None),
        ("took", _took(run.seconds), None),
        ("serial", str(run.serial), None),
        ("plan", run.plan_digest, None),
    ]
    head = columns([[Cell(name, "dim"), Cell(text, look)] for name, text, look in rows if text], style)
    shown, left = bounded(steps, 1000)
    lines = [
        [
            Cell(_WORDS.get(step.status, step.status), _STATUSES.get(step.status)),
            Cell(f"{step.action} {step.address}"),
            Cell(_took(step.seconds), right=True),
            Cell(step.reason or ""),
        ]
        for step in shown
    ]
    return joined([style.heading(f"Run {run.run}"), *head, *([""] if lines else []), *columns(lines, style), *more(left, style)])


def what_was_done(run: RunRow) -> str:
    """`3 done, 1 skipped, 2 without a place`; empty for a run that had nothing to do and left nothing undone."""
    parts = [f"{count:,} {_WORDS.get(status, status)}" for status in _STATUSES if (count := run.steps.get(status, 0))]
    if run.unplaced:
        parts.append(f"{run.unplaced:,} without a place")
    if run.deferred:
        parts.append(f"{plural(run.deferred, 'engine')} not reached")
    return ", ".join(parts)


def _took(seconds: float | None) -> str:
    return "" if seconds is None else format_duration(seconds)


def _short(digest: str) -> str:
    return digest.removeprefix("sha256:")[:12]
