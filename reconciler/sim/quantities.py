"""Sizes and durations as the file of a fleet writes them."""

from __future__ import annotations

import re
from fractions import Fraction

_SIZES = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12, "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40}
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)")
_TIMES = {"": 1.0, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_TIME = re.compile(r"(-?[0-9]+(?:\.[0-9]+)?)\s*([a-z]*)")


def size(value: object) -> int | None:
    """Bytes of `8GiB` (2^30), `4.7GB` (10^9) or a bare number of bytes; None when it is no size."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    match = _SIZE.fullmatch(str(value).strip())
    if match is None or match[2].lower() not in _SIZES:
        return None
    return int(Fraction(match[1]) * _SIZES[match[2].lower()])


def seconds(value: object) -> float | None:
    """Seconds of `300ms`, `5m`, `24h` or a bare number; None when it is no duration."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    match = _TIME.fullmatch(str(value).strip())
    return float(match[1]) * _TIMES[match[2]] if match is not None and match[2] in _TIMES else None
