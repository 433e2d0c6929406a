"""What `gpurec state check` finds."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. `hint` says what to do about a warning or an error."""

    name: str
    level: Level
    message: str
    hint: str | None = None
