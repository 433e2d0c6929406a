"""What `gpurec state check` finds."""

from __future__ import annotations

from enum import StrEnum

from reconciler.value_class import value_class


class Level(StrEnum):
    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@value_class
class Finding:
    """One thing that was looked at. `hint` says what to do about a warning or an error."""

    name: str
    level: Level
    message: str
    hint: str | None = None
