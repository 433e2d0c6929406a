"""The fields of an engine beside those of a container."""

from __future__ import annotations

from reconciler.fleet import Fields, Scalar, UnitSpec
from reconciler.planning.containers import HEALTHY

RUNTIME, UNIT, CONTENT, STATE, ENABLED = "runtime", "unit", "content", "state", "enabled"
SCOPE = "scope"
"""Whose systemd a unit is of; kept in the state, so that one that left the files is found."""
START_SECONDS = "start_seconds"
"""How long its last start took until it answered; kept in the state, for what a plan says of the next."""
URL = "url"
"""Where it answers as it was applied; kept in the state, for what is asked of it while its files already name another address."""
CONTAINER, SYSTEMD = "container", "systemd"
__all__ = [
    "CONTAINER",
    "CONTENT",
    "ENABLED",
    "HEALTHY",
    "RUNTIME",
    "SCOPE",
    "START_SECONDS",
    "STATE",
    "SYSTEMD",
    "UNIT",
    "URL",
    "unit_fields",
]


def unit_fields(unit: UnitSpec) -> Fields:
    """The fields of a unit as it is wanted."""
    wanted: dict[str, Scalar] = {
        RUNTIME: SYSTEMD,
        UNIT: unit.name,
        CONTENT: unit.digest,
        STATE: "running",
        ENABLED: True,
        HEALTHY: True,
    }
    return wanted
