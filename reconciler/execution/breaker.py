"""Which engines and nodes failed so often in a row that a run leaves them alone for a while. Seconds are of the run's own clock.

An engine counts its failed steps; a node counts those that failed because nobody answered, over all its engines. What is done resets both.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from enum import Enum

from reconciler.execution.outcome import StepResult
from reconciler.fleet import Breaker, format_duration
from reconciler.planning import Step
from reconciler.state import StepStatus

_NOBODY_ANSWERS = frozenset({"unreachable", "refused", "no_such_host", "timeout"})
_OF_THE_MODEL = frozenset({"pull_failed", "digest_differs", "not_installed", "runs_elsewhere"})
"""Failures of a file or a registry: they say nothing about the engine."""


class Gate(Enum):
    """Whether a step may begin: yes, no (it is skipped), or only when the step on trial there has ended."""

    OPEN = "open"
    BARRED = "barred"
    ON_TRIAL = "on_trial"


@dataclass(slots=True)
class _Line:
    """One engine or node. `barred_until` None: it works; `trial` is the step that finds out whether it does again."""

    failures: int = 0
    last: str = ""
    barred_until: float | None = None
    trial: str | None = None


class Breakers:
    """The breakers of one run; without a policy every gate is open."""

    def __init__(self, policy: Breaker | None, clock: Callable[[], float]) -> None:
        self._policy = policy
        self._clock = clock
        self._lines: dict[Hashable, _Line] = {}

    def gate(self, step: Step) -> Gate:
        """Whether `step` may begin now."""
        now = self._clock()
        lines = [line for _, line in self._known(step) if line.barred_until is not None]
        if any(line.trial is not None for line in lines):
            return Gate.ON_TRIAL
        return Gate.BARRED if any(line.barred_until is not None and now < line.barred_until for line in lines) else Gate.OPEN

    def why(self, step: Step) -> str:
        """The sentence for a step that is barred."""
        place, line = next((place, line) for place, line in self._known(step) if line.barred_until is not None)
        assert self._policy is not None
        count = "1 step" if line.failures == 1 else f"{line.failures} steps"
        alone = f"it is left alone for {format_duration(self._policy.reset)} (policy.breaker)"
        return f"{count} in a row failed on {place}, the last with {line.last}; {alone}"

    def begin(self, step: Step) -> None:
        """`step` begins; on an engine or a node that failed before, it is the one on trial."""
        for _, line in self._known(step):
            if line.barred_until is not None:
                line.trial = step.id

    def end(self, step: Step, result: StepResult) -> None:
        """What came of a step that had begun."""
        if self._policy is None:
            return
        failed = result.status is StepStatus.FAILED and result.code not in _OF_THE_MODEL
        done = result.status in (StepStatus.DONE, StepStatus.SATISFIED)
        for place in step.places:
            line = self._lines.get(place)
            if line is not None and line.trial == step.id:
                line.trial = None
            if done:
                self._lines.pop(place, None)
            elif failed and (place != step.node or result.code in _NOBODY_ANSWERS):
                line = line or self._lines.setdefault(place, _Line())
                line.failures += 1
                line.last = result.code or "no reason"
                if line.failures >= self._policy.failures:
                    line.barred_until = self._clock() + self._policy.reset

    def _known(self, step: Step) -> Iterator[tuple[Hashable, _Line]]:
        if not self._lines:
            return
        for place in step.places:
            line = self._lines.get(place)
            if line is not None:
                yield place, line
