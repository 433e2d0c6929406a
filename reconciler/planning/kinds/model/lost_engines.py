"""Engines that nobody could reach for longer than `policy.lost_after`: their replicas are placed elsewhere."""

from __future__ import annotations

from datetime import UTC, datetime

from reconciler.fleet import Applied, format_duration
from reconciler.placement import Occupancy
from reconciler.planning.plan import Note


def mark_lost(board: Occupancy, applied: Applied, after: float | None, now: str) -> list[Note]:
    """Marks the engines of the board that are unreachable, and were so for at least `after` seconds at `now` (ISO 8601, UTC); None marks
    none. What they hold stays charged: it may run there still."""
    notes = []
    for at, since in sorted(applied.silent.items()) if after is not None else ():
        slot = board.slots.get(at)
        if slot is None or slot.reachable:
            continue
        seconds = (_moment(now) - _moment(since)).total_seconds()
        if after is not None and seconds >= after:
            slot.lost = True
            message = f"could not be reached for {format_duration(seconds)}, so its replicas are placed elsewhere (policy.lost_after)"
            notes.append(Note(f"engine.{at}", "lost", message))
    return notes


def _moment(text: str) -> datetime:
    found = datetime.fromisoformat(text)
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)
