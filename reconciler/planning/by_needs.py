"""What must wait, after all that it waits for."""

from __future__ import annotations

import heapq
from collections.abc import Sequence

Rank = tuple[int | str, ...]


def by_needs(needs: Sequence[Sequence[int]], ranks: Sequence[Rank]) -> list[int]:
    """Numbers, each after all that it needs; of those that may come next the one of the lowest rank, then the lowest number. `needs` and
    `ranks` are by number. AssertionError: some wait for each other."""
    waiting = [len(each) for each in needs]
    dependents: list[list[int]] = [[] for _ in needs]
    for number, each in enumerate(needs):
        for needed in each:
            dependents[needed].append(number)
    ready = [(ranks[number], number) for number, count in enumerate(waiting) if not count]
    heapq.heapify(ready)
    done: list[int] = []
    while ready:
        _, number = heapq.heappop(ready)
        done.append(number)
        for dependent in dependents[number]:
            waiting[dependent] -= 1
            if not waiting[dependent]:
                heapq.heappush(ready, (ranks[dependent], dependent))
    assert len(done) == len(needs), "steps wait for each other"
    return done
