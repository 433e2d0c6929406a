"""The only clock of the operations."""

from __future__ import annotations

from datetime import UTC, datetime


def moment() -> datetime:
    """The time in UTC."""
    return datetime.now(UTC)


def now() -> str:
    """The time as ISO 8601 in UTC, to the second."""
    return moment().strftime("%Y-%m-%dT%H:%M:%SZ")
