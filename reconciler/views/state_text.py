"""The state for people: its lock, what it owns, what a check found."""

from __future__ import annotations

from dataclasses import dataclass

from reconciler.views.style import Cell, Style, columns, joined


@dataclass(frozen=True, slots=True)
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
