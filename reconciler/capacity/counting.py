"""What rooms can hold at most, by counting alone: of all that takes `t` bytes or more a room has `room // t`, whatever else is in it."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import groupby

RESIDENTS = 10
"""Of how many residents of a room every choice of those that leave is looked at."""


class Choices:
    """What some of these sizes come to together, for every choice of some; reckoned once for a room, however often it is asked."""

    def __init__(self, sizes: Sequence[int]) -> None:
        self.all = sum(sizes)
        self._smallest = min(sizes)
        sums = {0}
        for size in sizes if len(sizes) <= RESIDENTS else ():
            sums |= {one + size for one in sums}
        self._sums = sorted(sums) if len(sizes) <= RESIDENTS else None

    def least(self, wanted: int) -> int:
        """The smallest sum that is `wanted` or more, or a bound below that; all of them where none is."""
        if self._sums is None:
            return max(wanted, self._smallest)
        place = bisect_left(self._sums, wanted)
        return self._sums[place] if place < len(self._sums) else self.all


def least_left_out(wanted: Iterable[tuple[int, int, int]], rooms: Iterable[int]) -> int:
    """The least bytes without a place where these are wanted in these rooms. Of each kind: the least bytes that one takes, what one counts
    left out, and how many there are."""
    kinds, often = sorted(wanted, key=lambda kind: -kind[0]), Counter(rooms)
    missing = sum(takes * count for takes, _, count in kinds) - sum(room * count for room, count in often.items())
    worst, many = max(0, missing), 0
    sizes: list[tuple[int, int]] = []
    for takes, alike in groupby(kinds, key=lambda kind: kind[0]):
        for _, size, count in alike:
            sizes.append((size, count))
            many += count
        if takes > 0:
            short = many - sum(room // takes * count for room, count in often.items())
            worst = max(worst, _smallest(sizes, short)) if short > 0 else worst
    return worst


def _smallest(sizes: Sequence[tuple[int, int]], count: int) -> int:
    """The sum of the `count` smallest, given by size and how often."""
    found = 0
    for size, often in sorted(sizes):
        taken = min(count, often)
        found += taken * size
        count -= taken
    return found


def least_freed(takes: int, many: int, rooms: Iterable[tuple[int, Choices | None]]) -> int:
    """The least bytes that leave these rooms so that they take so many of so much. Of each room what may be had of it, with what of that is
    held (None: nothing)."""
    costs: list[int] = []
    for room, held in rooms:
        free = room - (held.all if held is not None else 0)
        fits = max(0, free) // takes
        many -= fits
        more = max(0, room) // takes - fits
        if more > 0 and held is not None:
            every = [held.least((fits + n) * takes - free) for n in range(1, more + 1)]
            costs += [min(-(-cost // n) for n, cost in enumerate(every, 1))] * more
    return sum(sorted(costs)[:many]) if 0 < many <= len(costs) else 0
