"""What changes of a file, as lines for people: only what we wrote, or would write, is ever shown."""

from __future__ import annotations

import difflib

from reconciler.fleet import Fields

MOST_LINES = 200
"""Lines of a diff that a plan shows."""
MOST_COMPARED = 10_000
"""Lines, before and after together, that are compared: what is longer costs more than linear time, and nobody reads it."""


def changed_lines(written: str | None, text: str | None, strange: Fields | None) -> tuple[str, ...]:
    """What we wrote last against what we would write. `strange` are the fields of the file that is there where somebody else wrote it: of
    that only its size and mode are told."""
    notes = []
    if strange is not None:
        whose = "changed since gpurec wrote it" if written is not None else "not written by gpurec"
        told = f"{strange.get('size')} bytes, mode {strange.get('mode')}"
        notes.append(f"! the file that is there was {whose}: {told}; its content is not shown")
    before, after = (written or "").splitlines(), (text or "").splitlines()
    if before != after and len(before) + len(after) > MOST_COMPARED:
        return (*notes, f"! {len(before):,} lines become {len(after):,}: too many to show what changes")
    changed = list(difflib.unified_diff(before, after, lineterm="", n=2))[2:] if before != after else []
    lines = [*notes, *changed]
    return (*lines[:MOST_LINES], f"… {len(lines) - MOST_LINES:,} more lines") if len(lines) > MOST_LINES else tuple(lines)
