"""The steps of a plan as a graph over `needs`, and which may begin now. All by index: linear in steps and needs."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Hashable, Iterator, Sequence

from reconciler.fleet import GpurecError
from reconciler.planning import Step


class StepGraph:
    """Which steps may begin: those whose needs are done and whose lane is free, in the order of the plan.

    Steps are known by their index in `steps`. `take` hands one out, `finish` takes it back; a step that did not succeed takes all that
    need it along.
    """

    def __init__(self, steps: Sequence[Step]) -> None:
        self.steps = steps
        index = {step.id: number for number, step in enumerate(steps)}
        if len(index) != len(steps):
            raise GpurecError.of("the plan names a step twice", hint="make the plan again")
        self._dependents: list[list[int]] = [[] for _ in steps]
        self._waiting = [0] * len(steps)
        for number, step in enumerate(steps):
            for needed in dict.fromkeys(step.needs):
                if needed not in index:
                    raise GpurecError.of(f"step {step.id} of the plan needs {needed}, which the plan has not", hint="make the plan again")
                self._dependents[index[needed]].append(number)
                self._waiting[number] += 1
        self._refuse_rings()
        self._lanes = [step.lane for step in steps]
        self._ready = [number for number, count in enumerate(self._waiting) if not count]
        self._parked: dict[Hashable, list[int]] = defaultdict(list)
        self._busy: set[Hashable] = set()
        self._left = set(range(len(steps)))

    def take(self) -> int | None:
        """The next step that may begin now; None when there is none. It leaves the graph's hands until `finish`."""
        while self._ready:
            number = heapq.heappop(self._ready)
            if number not in self._left:
                continue
            lane = self._lanes[number]
            if lane is not None:
                if lane in self._busy:
                    heapq.heappush(self._parked[lane], number)
                    continue
                self._busy.add(lane)
            self._left.discard(number)
            return number
        return None

    def finish(self, number: int, succeeded: bool) -> Iterator[tuple[int, int]]:
        """Takes back a step that was taken. When it did not succeed: yields (step, the need that it waited for) of all it takes along."""
        lane = self._lanes[number]
        if lane is not None:
            self._busy.discard(lane)
            if self._parked[lane]:
                heapq.heappush(self._ready, heapq.heappop(self._parked[lane]))
        if succeeded:
            for dependent in self._dependents[number]:
                self._waiting[dependent] -= 1
                if not self._waiting[dependent]:
                    heapq.heappush(self._ready, dependent)
            return
        lost = [number]
        while lost:
            cause = lost.pop()
            for dependent in self._dependents[cause]:
                if dependent in self._left:
                    self._left.discard(dependent)
                    yield dependent, cause
                    lost.append(dependent)

    def put_back(self, number: int) -> None:
        """Takes back a step that was taken and not begun; it is ready as before."""
        self._left.add(number)
        lane = self._lanes[number]
        if lane is not None:
            self._busy.discard(lane)
        heapq.heappush(self._ready, number)

    def never_begun(self) -> list[int]:
        """The steps that nobody took and nothing took along, in order; they leave the graph."""
        left = sorted(self._left)
        self._left.clear()
        return left

    def _refuse_rings(self) -> None:
        waiting = list(self._waiting)
        ready = [number for number, count in enumerate(waiting) if not count]
        seen = 0
        while ready:
            seen += 1
            for dependent in self._dependents[ready.pop()]:
                waiting[dependent] -= 1
                if not waiting[dependent]:
                    ready.append(dependent)
        if seen != len(waiting):
            stuck = next(self.steps[number].id for number, count in enumerate(waiting) if count)
            raise GpurecError.of(f"the plan has a dependency cycle through {stuck}", hint="make the plan again")
