"""How a value of templates says what its fields are."""

from __future__ import annotations

from dataclasses import field
from typing import Any

SAYS = "says"


def says(text: str) -> Any:
    """A field of a value, with what it is."""
    return field(metadata={SAYS: text})
