"""What `gpurec state check` finds."""

from __future__ import annotations

from enum import StrEnum

from reconciler.value_class import value_class


class StateLevel(StrEnum):
    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@value_class
class StateFinding:
    """One thing that was looked at. `hint` says what to do about a warning or an error."""

    name: str
    level: StateLevel
    message: str
    hint: str | None = None
