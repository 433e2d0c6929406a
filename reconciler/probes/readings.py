"""Values as tools and drivers write them. What says "no value", in whatever words, is None and never 0; units are checked, not assumed."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping

from reconciler.engines.answers import clean_text
from reconciler.fleet import MIB, UnitError, parse_version

_NO_VALUE = frozenset(
    (
        "",
        "n/a",
        "na",
        "none",
        "unknown",
        "not supported",
        "not available",
        "unknown error",
        "insufficient permissions",
        "requested functionality has been deprecated",
        "gpu requires reset",
        "gpu is lost",
        "err!",
    )
)
_NOT_THERE = frozenset(("n/a", "not supported"))
_NUMBER = re.compile(r"(-?[0-9]{1,20}(?:\.[0-9]{1,9})?)\s*([A-Za-z%/]*)")
_LOST = re.compile(r"GPU is lost|requires reset", re.IGNORECASE)
_MOST = 2.0**63
_THROTTLE: Mapping[int, str] = {
    0x4: "sw_power_cap",
    0x8: "hw_slowdown",
    0x20: "sw_thermal_slowdown",
    0x40: "hw_thermal_slowdown",
    0x80: "hw_power_brake_slowdown",
}
"""Bits of NVML's clocks event reasons that hold clocks down (nvml.h, nvmlClocksEventReason…), in nvidia-smi's words. Idle, application
clocks, sync boost and the display's clocks are somebody's wish and no complaint."""
THROTTLE_WORDS = tuple(_THROTTLE.values())
_HALF_SINCE = (5, 3)
_BRAIN_SINCE = (8, 0)


def text(value: object) -> str | None:
    """A word or a name, safe to show; None where it says that there is none."""
    if not isinstance(value, str):
        return None
    plain = value.strip()
    bare = plain.strip("[]").strip()
    return None if bare.lower() in _NO_VALUE or bare.lower().startswith("no ") else clean_text(plain)


def not_there(value: object) -> bool:
    """Whether a tool says that there is no such thing, and not that it cannot or may not tell."""
    return isinstance(value, str) and value.strip().strip("[]").strip().lower() in _NOT_THERE


def number(value: object, *units: str) -> float | None:
    """A number, of which a written unit must be one of `units`; without one it is taken as it is."""
    if isinstance(value, bool):
        return None
    if isinstance(value, (int, float)):
        return float(value) if math.isfinite(value) and abs(value) < _MOST else None
    if not isinstance(value, str):
        return None
    match = _NUMBER.fullmatch(value.strip())
    if match is None or (match.group(2) and match.group(2) not in units):
        return None
    return float(match.group(1))


def mebibytes(value: object) -> int | None:
    """Bytes of a count of MiB, written bare, as `MiB`, or as the `MB` by which AMD's tools mean MiB; a negative count says nothing."""
    found = number(value, "MiB", "MB")
    return int(found * MIB) if found is not None and found >= 0 else None


def whole(value: object) -> int | None:
    """A count that is not negative."""
    found = number(value)
    return int(found) if found is not None and found >= 0 else None


def percent(value: object) -> float | None:
    """A ratio 0..1 of a percentage."""
    found = number(value, "%")
    return found / 100 if found is not None and 0 <= found <= 100 else None


def watts(value: object) -> float | None:
    found = number(value, "W")
    return found if found is not None and found >= 0 else None


def celsius(value: object) -> float | None:
    return number(value, "C")


def version(value: object) -> tuple[int, ...] | None:
    """A version; None where it is none."""
    word = text(value)
    if word is None:
        return None
    try:
        return parse_version(word)
    except UnitError:
        return None


def capability(value: object) -> tuple[int, int] | None:
    """(major, minor) of `8.9`."""
    match = re.fullmatch(r"([0-9]{1,2})\.([0-9]{1,2})", value.strip()) if isinstance(value, str) else None
    return (int(match.group(1)), int(match.group(2))) if match is not None else None


def lost(values: Iterable[str | None]) -> str | None:
    """What is wrong with a card where nvidia-smi says in place of its values that it is lost or must be reset; None where it does not."""
    said = next((value for value in values if value is not None and _LOST.search(value)), None)
    return None if said is None else f"nvidia-smi says {clean_text(said.strip().strip('[]').strip())}"


def throttle_reasons(mask: int | None) -> tuple[str, ...] | None:
    """The reasons of a bit mask; () is none, None unknown."""
    return None if mask is None else tuple(word for bit, word in _THROTTLE.items() if mask & bit)


def half_precision(capability: tuple[int, int] | None) -> tuple[bool | None, bool | None]:
    """Whether a CUDA card computes in float16 and in bfloat16 itself (CUDA C++ Programming Guide, arithmetic instructions)."""
    if capability is None:
        return None, None
    return capability >= _HALF_SINCE, capability >= _BRAIN_SINCE
