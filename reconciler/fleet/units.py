"""Bytes, ratios, durations and versions: the one place that parses and prints each.

Bytes are `int`, ratios are exact `Fraction` in 0..1 (so that `floor(4096 MiB * 0.8)` has one answer), durations are seconds as
`float`, compute capabilities and versions compare as tuples of integers.
"""

from __future__ import annotations

import re
from fractions import Fraction

KIB, MIB, GIB, TIB = 2**10, 2**20, 2**30, 2**40
_BYTE_UNITS = {
    "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12,
    "kib": KIB, "mib": MIB, "gib": GIB, "tib": TIB,
}  # fmt: skip
_DURATION_UNITS = {"ms": Fraction(1, 1000), "s": Fraction(1), "m": Fraction(60), "h": Fraction(3600), "d": Fraction(86400)}
_NUMBER_UNIT = re.compile(r"\s{0,9}([0-9]{1,40}(?:\.[0-9]{1,40})?)\s{0,9}([A-Za-z]{0,9})\s{0,9}")
_DECIMAL = re.compile(r"-?[0-9]{1,18}(\.[0-9]{1,18})?")
_BEYOND_BYTES = 2**63
_LONGEST_SECONDS = 9_223_372_036.0
"""Go's longest duration (time.Duration: 64 bits of nanoseconds), which Ollama reads ours into."""
_DURATION = re.compile(r"(?:\s{0,9}([0-9]{1,40}(?:\.[0-9]{1,40})?)(ms|s|m|h|d)){1,9}\s{0,9}")
_VERSION = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9}){0,15}")
_DURATION_PART = re.compile(r"([0-9]{1,40}(?:\.[0-9]{1,40})?)(ms|s|m|h|d)")


class UnitError(ValueError):
    """A quantity that cannot be read. `args[0]` says what is wrong, `hint` what to write instead."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


def _shown(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= 80 else shown[:79] + "…"


def parse_bytes(value: object, *, bare_unit: int = 1) -> int:
    """Bytes of `7GiB` (7·2³⁰), `7GB` (7·10⁹) or a bare number of `bare_unit` bytes (MiB for keys that end in `_mb`)."""
    hint = "write a size such as 7GiB (2^30), 7GB (10^9) or 512MiB"
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise UnitError(f"{_shown(value)} is not a size", hint)
    match = _NUMBER_UNIT.fullmatch(str(value))
    if match is None:
        raise UnitError(f"{_shown(value)} is not a size", hint)
    number, unit = match.groups()
    if unit[1:] in ("b", "ib") and unit[0].isupper():
        raise UnitError(f"{_shown(value)} would be bits", f"write {unit[:-1]}B for bytes")
    if unit and unit.lower() not in _BYTE_UNITS:
        raise UnitError(f"{_shown(value)} has the unknown unit {unit!r}", hint)
    factor = _BYTE_UNITS[unit.lower()] if unit else bare_unit
    count = int(Fraction(number) * factor)
    if count >= _BEYOND_BYTES:
        raise UnitError(f"{_shown(value)} is more than any machine has", hint)
    return count


def parse_ratio(value: object) -> Fraction:
    """A ratio in 0..1 from `90%` or `0.9`; a bare 90 is refused, since percent and ratio cannot be told apart."""
    text = str(value).strip()
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise UnitError(f"{_shown(value)} is not a ratio", "write 90% or 0.9")
    number = text.removesuffix("%").strip()
    if not _DECIMAL.fullmatch(number):
        raise UnitError(f"{_shown(value)} is not a ratio", "write 90% or 0.9")
    ratio = Fraction(number) / 100 if text.endswith("%") else Fraction(number)
    if not 0 <= ratio <= 1:
        meant = f"{number}% or {float(Fraction(number) / 100):g}" if 2 <= Fraction(number) <= 100 else "90% or 0.9"
        raise UnitError(f"{_shown(value)} is not a ratio between 0 and 1", f"write {meant}")
    return ratio


def parse_duration(value: object) -> float:
    """Seconds of `30s`, `5m`, `1h30m`, `24h`, `7d`, or a bare number of seconds."""
    hint = "write a duration such as 30s, 5m, 24h or a number of seconds"
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise UnitError(f"{_shown(value)} is not a duration", hint)
    text = str(value).strip()
    if re.fullmatch(r"[0-9]{1,40}(?:\.[0-9]{1,40})?", text):
        seconds = float(text)
    elif _DURATION.fullmatch(text):
        seconds = float(sum(Fraction(number) * _DURATION_UNITS[unit] for number, unit in _DURATION_PART.findall(text)))
    else:
        raise UnitError(f"{_shown(value)} is not a duration", hint)
    if seconds > _LONGEST_SECONDS:
        raise UnitError(f"{_shown(value)} is longer than 292 years, the longest that engines know", hint)
    return seconds


def parse_capability(value: object) -> tuple[int, int]:
    """(major, minor) of a CUDA compute capability: `"8.6"`, `8.6` and `86` are the same."""
    hint = 'write it as "8.6"'
    text = str(value).strip()
    if isinstance(value, bool) or not re.fullmatch(r"[0-9]{1,2}\.[0-9]|[0-9]{2,3}", text):
        raise UnitError(f"{_shown(value)} is not a compute capability", hint)
    if "." in text:
        major, minor = text.split(".")
        return int(major), int(minor)
    return int(text[:-1]), int(text[-1])


def parse_version(value: object) -> tuple[int, ...]:
    """A version as a tuple that compares as versions do: `525.60.13` > `525.6`; trailing zeros do not count."""
    text = str(value).strip().lstrip("vV")
    if isinstance(value, bool) or not _VERSION.fullmatch(text):
        raise UnitError(f"{_shown(text)} is not a version", "write it as numbers with dots, such as 525.60")
    parts = [int(part) for part in text.split(".")]
    while len(parts) > 1 and parts[-1] == 0:
        parts.pop()
    return tuple(parts)


def format_bytes(count: int) -> str:
    """A size for people in binary units, rounded down so that nothing looks larger than it is: `3276 MiB`, `24.0 GiB`."""
    if count < 0:
        return "-" + format_bytes(-count)
    if count < MIB:
        return f"{count} B" if count < KIB else f"{count // KIB} KiB"
    if count < 10 * GIB:
        return f"{count // MIB} MiB"
    tenths = count * 10 // GIB
    return f"{tenths // 10}.{tenths % 10} GiB"


def format_ratio(ratio: Fraction | float) -> str:
    """A ratio as a percentage without superfluous digits: `90%`, `12.5%`."""
    return f"{float(ratio) * 100:.1f}".rstrip("0").rstrip(".") + "%"


def format_duration(seconds: float) -> str:
    """Seconds for people: `4.5s`, `3m 20s`, `2h 5m`."""
    if seconds < 60:
        return f"{seconds:.1f}".rstrip("0").rstrip(".") + "s"
    minutes, rest = divmod(int(seconds + 0.5), 60)
    if minutes < 60:
        return f"{minutes}m {rest}s" if rest else f"{minutes}m"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h {minutes}m" if minutes else f"{hours}h"


def format_capability(capability: tuple[int, int]) -> str:
    return f"{capability[0]}.{capability[1]}"
