"""Courses of a card's use as they are recorded in the field, drawn by a seed: a value an hour, in bytes, of a card of 24 GiB.

Each kind is a story: what is loaded when, what leaks, what nobody can foretell. `python tests/health/usage_series.py KIND SEED` prints one.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Mapping

GIB = 2**30
TOTAL = 24 * GIB
Draw = Callable[[random.Random, int], list[float]]


def office(rnd: random.Random, hours: int) -> list[float]:
    """Models are loaded on demand in office hours, more of them at noon; nights and weekends are quiet."""
    base, first = rnd.uniform(1, 4), rnd.randrange(168)
    out = []
    for at in range(first, first + hours):
        hour, day = at % 24, at // 24 % 7
        busy = (6.0 + 3.0 * (11 <= hour <= 15)) if 8 <= hour < 18 and day < 5 else 0.0
        out.append(GIB * (base + busy * rnd.uniform(0.75, 1.25) + rnd.gauss(0, 0.3)))
    return out


def nightly(rnd: random.Random, hours: int) -> list[float]:
    """A batch of the night takes most of the card for some hours, and begins now earlier, now later."""
    begin, takes = rnd.randrange(0, 4), rnd.uniform(10, 16)
    out = []
    for at in range(hours):
        if at % 24 == 0:
            today, lasts = begin + rnd.choice((0, 0, 1)), rnd.choice((4, 5, 6))
        on = today <= at % 24 < today + lasts
        out.append(GIB * (3 + takes * on + rnd.gauss(0, 0.25)))
    return out


def sessions(rnd: random.Random, hours: int) -> list[float]:
    """People come and go: a tide over the day with much chance in it, smooth from hour to hour."""
    from math import cos, pi

    peak, deviation, out = rnd.uniform(12, 18), 0.0, []
    for at in range(hours):
        deviation = 0.8 * deviation + rnd.gauss(0, 0.7)
        out.append(GIB * max(0.5, 9 + 5 * cos(2 * pi * (at - peak) / 24) + deviation))
    return out


def leak(rnd: random.Random, hours: int) -> list[float]:
    """Something loses memory by the hour."""
    by, out = rnd.uniform(0.03, 0.07), []
    for at in range(hours):
        out.append(GIB * (2 + by * at % 20 + rnd.gauss(0, 0.05)))
    return out


def bursts(rnd: random.Random, hours: int) -> list[float]:
    """Idle at a level, with loads now and then that are over after an hour or two."""
    out, left = [], 0
    for _ in range(hours):
        if left == 0 and rnd.random() < 0.12:
            left = rnd.choice((1, 1, 2))
        out.append(GIB * (5 + 9 * (left > 0) + rnd.gauss(0, 0.2)))
        left = max(0, left - 1)
    return out


def pinned(rnd: random.Random, hours: int) -> list[float]:
    """What is loaded stays."""
    held = rnd.uniform(3, 20)
    return [GIB * (held + rnd.gauss(0, 0.02)) for _ in range(hours)]


def wandering(rnd: random.Random, hours: int) -> list[float]:
    """A random walk: nobody can foretell it."""
    value, out = 12.0, []
    for _ in range(hours):
        value = min(23.0, max(1.0, value + rnd.gauss(0, 0.8)))
        out.append(GIB * value)
    return out


def steps(rnd: random.Random, hours: int) -> list[float]:
    """Somebody loads and unloads by hand, at any time."""
    value, out = 6.0, []
    for _ in range(hours):
        if rnd.random() < 0.06:
            value = rnd.choice((2.0, 6.0, 11.0, 18.0))
        out.append(GIB * (value + rnd.gauss(0, 0.05)))
    return out


KINDS: Mapping[str, Draw] = {
    "office": office,
    "nightly": nightly,
    "sessions": sessions,
    "leak": leak,
    "bursts": bursts,
    "pinned": pinned,
    "wandering": wandering,
    "steps": steps,
}


def draw(kind: str, seed: int, hours: int) -> list[float]:
    """The course of this kind and seed, always the same."""
    return [max(0.0, min(float(TOTAL), value)) for value in KINDS[kind](random.Random(f"{kind} {seed}"), hours)]


if __name__ == "__main__":
    for value in draw(sys.argv[1], int(sys.argv[2]), 24 * 14):
        print(round(value))
