"""The state for people: its lock, what it owns, what a check found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from reconciler.planning.plan import Value
from reconciler.value_class import value_class
from reconciler.views.sections import value_text
from reconciler.views.style import Cell, Style, columns, joined, paragraph, plural, table


@value_class
class LockRow:
    """Who holds the lock. `standing` is `running`, `gone`, `fresh` or `expired`; `holds` false: the next run takes it over."""

    who: str
    host: str
    pid: int
    ci: str | None
    command: str
    since: str
    heartbeat: str
    standing: str
    holds: bool


_STANDINGS = {
    "running": "its process runs on this machine",
    "gone": "its process is gone; the next run takes the lock over at once",
    "fresh": "its process cannot be asked from here, and it was heard of within the last 30 s",
    "expired": "it was not heard of for more than 30 s; the next run takes the lock over",
}


def lock_text(lock: LockRow | None, *, colour: bool = False, width: int = 100) -> str:
    """Who holds the lock, since when, doing what, and whether it is still there."""
    style = Style(colour, width)
    if lock is None:
        return "The state is not locked.\n"
    head = style.paint("The state is locked.", "yellow") if lock.holds else "The state is locked, and the lock can be taken over."
    rows = [
        ("by", f"{lock.who} on {lock.host}, process {lock.pid}"),
        ("CI job", lock.ci or ""),
        ("running", lock.command),
        ("since", lock.since),
        ("last heard of", lock.heartbeat),
        ("now", _STANDINGS.get(lock.standing, lock.standing)),
    ]
    return joined([head, *columns([[Cell(name, "dim"), Cell(text)] for name, text in rows if text], style)])


def replica_text(fields: Mapping[str, Value], *, colour: bool = False, width: int = 100) -> str:
    """One owned replica, a field a line: its address first, what was asked, what was seen."""
    style = Style(colour, width)
    head, *rest = fields.items()
    rows = [[Cell(name, "dim"), Cell(value_text(value))] for name, value in rest]
    return joined([style.heading(value_text(head[1])), *columns(rows, style)])


@value_class
class FindingRow:
    """One thing that a check looked at; `level` is `ok`, `warning` or `error`."""

    name: str
    level: str
    message: str
    hint: str | None = None


_LEVELS = {"ok": ("·", "dim"), "warning": ("!", "yellow"), "error": ("✗", "red")}


def check_text(path: str, findings: Sequence[FindingRow], *, colour: bool = False, width: int = 100) -> str:
    """Every finding in a line, what to do below it, and the sum."""
    style = Style(colour, width)
    lines = table([[Cell(f"{_LEVELS[one.level][0]} {one.name}", _LEVELS[one.level][1]), Cell(one.message)] for one in findings], style)
    shown: list[str] = []
    for one, row in zip(findings, lines, strict=True):
        shown += row
        if one.hint and one.level != "ok":
            shown += paragraph(f"→ {one.hint}", style, "      ", "        ")
    errors = sum(1 for one in findings if one.level == "error")
    warnings = sum(1 for one in findings if one.level == "warning")
    words = [plural(count, name) for count, name in ((errors, "error"), (warnings, "warning")) if count]
    head = style.paint("The state is not sound" if errors else "The state is sound", "red" if errors else "green")
    return joined([style.heading(path), *shown, f"{head}{': ' + ', '.join(words) if words else ''}."])
