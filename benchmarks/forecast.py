"""How good forecasts are: over drawn courses of use, beside "as now" and "as at this hour yesterday". Each is asked only where it dares."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "health"))

import recorded
from usage_series import GIB, KINDS, TOTAL, draw

from reconciler.health.forecast import Method, forecast

OPENB = os.environ.get("OPENB")
DAYS, AHEAD, SEEDS = (4, 10, 20), 24, 12


@dataclass
class Score:
    """Mean errors in bytes of those that were foretold, of the same by both simple ways, and how many of all those were."""

    ours: list[float]
    now: list[float]
    yesterday: list[float]
    inside: list[bool]
    asked: int = 0
    dared: int = 0
    """Of those, how many say something else than that it stays as it is."""

    @property
    def told(self) -> int:
        return len(self.ours)


def score(kind: str, seeds: range, days: tuple[int, ...] = DAYS) -> Score:
    """Forecasts of a day from the end of so many days, and what really came."""
    return judged(_cases(kind, seeds, days))


def judged(cases: Iterable[tuple[list[float], list[float]]]) -> Score:
    """The same of any pasts, and what came after each."""
    found = Score([], [], [], [])
    for past, came in cases:
        found.asked += 1
        told = forecast(past, TOTAL, AHEAD, {})
        if not told.known:
            continue
        found.dared += told.method is not Method.STEADY
        found.ours.append(fmean(abs(point.expected - real) for point, real in zip(told.points, came, strict=True)))
        found.now.append(fmean(abs(past[-1] - real) for real in came))
        found.yesterday.append(fmean(abs(past[len(past) - 24 + at] - real) for at, real in enumerate(came)))
        found.inside.extend(point.low <= real <= point.high for point, real in zip(told.points, came, strict=True))
    return found


def _cases(kind: str, seeds: range, days: tuple[int, ...]) -> Iterator[tuple[list[float], list[float]]]:
    for seed in seeds:
        for count in days:
            hours = 24 * count + 7 * seed % 24
            whole = draw(kind, seed, hours + AHEAD)
            yield whole[:hours], whole[hours:]


def main() -> bool:
    """Prints the table; says whether ours is better than both wherever it dares, over each kind."""
    print(f"\nforecasts of {AHEAD} hours, mean error in GiB of a card of 24 GiB\n{'course':<10} {'told':>7} {'ours':>6} {'as now':>7} "
          f"{'yesterday':>9} {'inside 80%':>10}")  # fmt: skip
    good, start, asked = True, time.perf_counter(), 0
    for kind in KINDS:
        one = score(kind, range(SEEDS))
        asked += one.asked
        if not one.told:
            print(f"{kind:<10} {0:>3}/{one.asked:<3} too little known")
            continue
        ours, now, yesterday = (fmean(each) / GIB for each in (one.ours, one.now, one.yesterday))
        fine = ours <= min(now, yesterday) or one.dared <= one.asked / 20
        good = good and fine
        print(f"{kind:<10} {one.told:>3}/{one.asked:<3} {ours:>6.2f} {now:>7.2f} {yesterday:>9.2f} {fmean(one.inside):>9.0%} "
              f"{'' if fine else 'DOES NOT HOLD'}")  # fmt: skip
    for name, course in (recorded.courses(Path(OPENB), TOTAL) if OPENB else {}).items():
        one = judged(recorded.cases(course))
        asked += one.asked
        ours, now, yesterday = (fmean(each) / GIB if each else 0.0 for each in (one.ours, one.now, one.yesterday))
        fine = ours <= min(now, yesterday) or one.dared <= one.asked / 20
        good = good and fine
        told = f"{one.dared} and {one.told - one.dared} steady of {one.asked}"
        print(f"openb: {name}: {told}  {ours:.2f} {now:.2f} {yesterday:.2f} {'' if fine else 'DOES NOT HOLD'}")
    if not OPENB:
        print("recorded courses: not judged, since OPENB names no folder of the trace")
    print(f"{(time.perf_counter() - start) / asked * 1000:.1f} ms a card")
    return good


if __name__ == "__main__":
    sys.exit(0 if main() else 1)
