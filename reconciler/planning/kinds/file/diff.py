"""What changes of a file, as lines for people: only what we wrote, or would write, is ever shown."""

from __future__ import annotations

import difflib

from reconciler.fleet import Fields
from reconciler.rendering.secret import references, shown

MOST_LINES = 200
"""Lines of a diff that a plan shows."""
MOST_COMPARED = 10_000
"""Lines, before and after together, that are compared: what is longer costs more than linear time, and nobody reads it."""


RENEWED = "secret"
"""A fact of a file that is as it was written, but for secrets that have another value now: their references, apart by blanks."""


def changed_lines(written: str | None, text: str | None, found: Fields, strange: bool) -> tuple[str, ...]:
    """What we wrote last against what we would write. `strange`: somebody else wrote the file that is there, of which `found` are the
    fields; of that only its size and mode are told."""
    notes = []
    renewed = str(found.get(RENEWED) or "").split()
    if strange and not renewed:
        whose = "changed since gpurec wrote it" if written is not None else "not written by gpurec"
        told = f"{found.get('size')} bytes, mode {found.get('mode')}"
        notes.append(f"! the file that is there was {whose}: {told}; its content is not shown")
    before, after = (written or "").splitlines(), (text or "").splitlines()
    if before != after and len(before) + len(after) > MOST_COMPARED:
        return (*notes, f"! {len(before):,} lines become {len(after):,}: too many to show what changes")
    changed = list(difflib.unified_diff(before, after, lineterm="", n=2))[2:] if before != after else []
    for line in before if before == after else ():
        if set(references(line)) & set(renewed):
            changed += [f"{sign}{shown(line, '(secret {}: differs)')}" for sign in "-+"]
    lines = [*notes, *map(shown, changed)]
    return (*lines[:MOST_LINES], f"… {len(lines) - MOST_LINES:,} more lines") if len(lines) > MOST_LINES else tuple(lines)
