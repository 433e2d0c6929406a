"""When each step of a plan would begin and end, by what its like took before."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from statistics import median

from reconciler.planning.plan import Step
from reconciler.value_class import value_class

UNKNOWN_SECONDS = 1.0
"""What a step is drawn with where no step of the plan has a known time."""


@value_class
class Timed:
    """A step with its earliest times, in seconds from the start of the run. Not `known`: nobody measured it, and the median of the others
    stands in its place."""

    step: Step
    start: float
    end: float
    known: bool


def schedule(steps: Sequence[Step]) -> tuple[Timed, ...]:
    """The steps in the order of the plan, each as early as what it needs allows, one at a time where they share a lane. As if as many ran
    at once as can: a bound from below."""
    measured = [step.seconds for step in steps if step.seconds is not None]
    guess = median(measured) if measured else UNKNOWN_SECONDS
    ends: dict[str, float] = {}
    free: dict[Hashable, float] = {}
    timed = []
    for step in steps:
        start = max((ends[need] for need in step.needs if need in ends), default=0.0)
        if step.lane is not None:
            start = max(start, free.get(step.lane, 0.0))
        end = start + (guess if step.seconds is None else step.seconds)
        ends[step.id] = end
        if step.lane is not None:
            free[step.lane] = end
        timed.append(Timed(step, start, end, step.seconds is not None))
    return tuple(timed)
