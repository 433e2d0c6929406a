"""By how much another machine's clock is off, from what it said it is between two moments of ours."""

from __future__ import annotations

from email.utils import parsedate_to_datetime

_LONGEST = 40
"""Bytes of a date in any form that HTTP allows (RFC 9110, 5.6.7)."""


def told_by(date: bytes | None) -> float | None:
    """The `Date` of an answer as seconds since 1970; None where there is none, or no date."""
    if date is None or len(date) > _LONGEST:
        return None
    try:
        return parsedate_to_datetime(date.decode("ascii")).timestamp()
    except (ValueError, OverflowError):
        return None


def skew(told: float | None, begun: float, ended: float) -> float | None:
    """Seconds by which a clock of whole seconds, read between two moments of ours, is ahead of ours; 0 where it may well be right."""
    if told is None:
        return None
    return min(0.0, told + 1 - begun) + max(0.0, told - ended)
