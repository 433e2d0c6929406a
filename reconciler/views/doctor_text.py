"""What is wrong, for people and for programs: each finding with what mends it."""

from __future__ import annotations

from collections.abc import Sequence

from reconciler.health import Finding, Level
from reconciler.views.escape import escape
from reconciler.views.style import Style, bounded, joined, more, paragraph, plural

_LOOKS = {Level.ERROR: ("✗", "red"), Level.WARNING: ("!", "yellow")}


def doctor_text(findings: Sequence[Finding], looked_at: str, *, colour: bool = False, width: int = 100) -> str:
    """Every finding with its mend below it, errors first; `looked_at` says what was looked at (`3 nodes, 4 engines`)."""
    style = Style(colour, width)
    if not findings:
        return joined([style.paint("✓", "green") + f" Nothing is wrong with {escape(looked_at)}."])
    shown, left = bounded(findings)
    lines: list[str] = []
    for one in shown:
        glyph, look = _LOOKS[one.level]
        lines.append(f"{style.paint(glyph, look)} {style.heading(one.address)}  {style.paint(one.code, 'dim')}")
        lines += paragraph(one.what, style, "    ", "    ")
        lines += paragraph(f"→ {one.mend}", style, "    ", "      ")
    lines += more(left, style, "findings: gpurec doctor NODE shows those of one node, --format json all")
    errors = sum(1 for one in findings if one.level is Level.ERROR)
    counted = f"{plural(errors, 'error')}, {plural(len(findings) - errors, 'warning')}"
    return joined([*lines, "", f"{counted} in {escape(looked_at)}."])


def doctor_document(findings: Sequence[Finding], at: str) -> dict[str, object]:
    """The same for programs."""
    return {
        "format_version": "1.0",
        "at": at,
        "findings": [
            {"level": one.level.value, "code": one.code, "address": one.address, "message": one.what, "mend": one.mend} for one in findings
        ],
    }
