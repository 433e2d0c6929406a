"""Values as tools and drivers write them. What says "no value", in whatever words, is None and never 0; units are checked, not assumed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from fractions import Fraction

from reconciler.engines.foreign_text import clean_text
from reconciler.fleet import MIB, TIB, UnitError, parse_version

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
MOST_CARDS = 4096
MOST_CARD_BYTES = 16 * TIB
"""More than the memory of any card, of all the RAM that one may map, and of what a process may hold of both."""
MOST_RAM_BYTES = 1024 * TIB
MOST_XID = 9999
MOST_CLOCK = 2**34
"""Seconds since 1970, until the year 2514."""
_MOST_COUNT = 2**48
_MOST_WATTS = 100_000.0
_CELSIUS = (-100.0, 300.0)
_SLACK = Fraction(1, 10)
"""The share of a card that may be neither used nor free: what drivers since 510 count as reserved, and ECC takes."""
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
        return float(value) if abs(value) < _MOST else None
    if not isinstance(value, str):
        return None
    match = _NUMBER.fullmatch(value.strip())
    if match is None or (match.group(2) and match.group(2) not in units):
        return None
    return float(match.group(1))


def _within(found: float | None, least: float, most: float) -> float | None:
    """A number that can be of what it is said of: what is out of its range says nothing, whoever wrote it."""
    return found if found is not None and least <= found <= most else None


def mebibytes(value: object) -> int | None:
    """Bytes of a count of MiB, written bare, as `MiB`, or as the `MB` by which AMD's tools mean MiB; one that is negative, or beyond all
    memory, says nothing."""
    found = _within(number(value, "MiB", "MB"), 0, MOST_CARD_BYTES // MIB)
    return int(found * MIB) if found is not None else None


def of_bytes(value: object, most: int = MOST_CARD_BYTES) -> int | None:
    """A count of bytes of a card, or of what `most` is the bound of."""
    found = _within(number(value), 0, most)
    return int(found) if found is not None else None


def count(value: object, most: int = _MOST_COUNT) -> int | None:
    """A count that is not negative and not beyond counting."""
    found = _within(number(value), 0, most)
    return int(found) if found is not None else None


def card_number(value: object) -> int | None:
    """The number of a card, or of a slice."""
    return count(value, MOST_CARDS - 1)


def use(total: int | None, used: int | None, free: int | None, reserved: int | None = None) -> int | None:
    """Bytes in use, where the figures of a card do not contradict each other: what is used fits, and with what is free and reserved makes
    the whole. A driver that is losing its card says that nothing is used and nothing is free."""
    if used is None or total is None:
        return used
    if used > total:
        return None
    if free is not None and not total * (1 - _SLACK) <= used + free + (reserved or 0) <= total * (1 + _SLACK):
        return None
    return used


_SHARING = re.compile(r"\b(?:GB10|N1X?|Tegra|Jetson|Orin|Xavier|Thor)\b", re.IGNORECASE)
"""NVIDIA's chips that have the memory of their node: DGX Spark and its kin, Jetson, N1X."""


def shares_memory(name: str | None, total: int | None, said: object) -> bool | None:
    """Whether a chip has no memory of its own: its tool says that there is none, or its name is of such a one. None: nothing says so."""
    if name is None:
        return None
    return True if _SHARING.search(name) or (not total and not_there(said)) else None


def percent(value: object) -> float | None:
    """A ratio 0..1 of a percentage."""
    found = number(value, "%")
    return found / 100 if found is not None and 0 <= found <= 100 else None


def watts(value: object) -> float | None:
    return _within(number(value, "W"), 0, _MOST_WATTS)


def celsius(value: object) -> float | None:
    return _within(number(value, "C"), *_CELSIUS)


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
