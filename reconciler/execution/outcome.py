"""How a run is asked for and how it ended."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from reconciler.fleet import FleetFacts
from reconciler.planning import Action
from reconciler.state import StepStatus
from reconciler.value_class import value_class


@value_class
class ExecutionOptions:
    """`parallelism`: steps at once. Without `keep_going` the run stops to begin steps once more than `max_fail` (None: 0) have failed.

    `poll_seconds` between looks at an engine; `settle_seconds` is how long what was asked for (an unload, a pin) may take to show.
    For `drain_seconds` a busy model is given time before it is unloaded (None: none); then it stays, unless `force`.
    `tolerated_looks` failed looks are put up with; one more and the engine is unreachable. After a failed one it takes `trusted_looks` good
    ones in a row before it counts as back.
    """

    parallelism: int = 10
    keep_going: bool = False
    max_fail: int | None = None
    poll_seconds: float = 0.5
    settle_seconds: float = 30.0
    tolerated_looks: int = 2
    drain_seconds: float | None = None
    force: bool = False
    trusted_looks: int = 1


class StopSignal:
    """Asks a run to begin no more steps; what runs settles. May be set from a signal handler or another thread."""

    def __init__(self) -> None:
        self._asked = threading.Event()

    def request_stop(self) -> None:
        self._asked.set()

    @property
    def requested(self) -> bool:
        return self._asked.is_set()


@value_class
class StepResult:
    """How one step ended. `code` and `message` say why it is not done; `waited_for` is the step without which it could not begin.
    `corrected`: it ran out of memory, and the measured need of its model was raised."""

    step_id: str
    address: str
    action: Action
    status: StepStatus
    code: str | None = None
    message: str | None = None
    waited_for: str | None = None
    seconds: float = 0.0
    corrected: bool = False

    @property
    def reason(self) -> str | None:
        """`code: message`, as the journal keeps it."""
        if self.code is None:
            return None
        return f"{self.code}: {self.message}" if self.message else self.code


@value_class
class LostResident:
    """A resident that the plan left alone and that is gone at the end of the run. `ours`: a replica of the plan, else nobody here asked for
    it; `message` is a sentence."""

    address: str
    message: str
    ours: bool


@value_class
class Outcome:
    """The end of a run. `results` are in the order of the plan. `facts` are those given, with every engine that was touched seen anew.
    `lost` is what other steps, the engines themselves or other clients pushed out meanwhile."""

    results: tuple[StepResult, ...]
    facts: FleetFacts
    interrupted: bool
    seconds: float
    lost: tuple[LostResident, ...] = ()

    def followed_by(self, second: Outcome) -> Outcome:
        """Both as one: of a step that came up in both the second ending counts."""
        ended = {result.step_id: result for result in second.results}
        results = tuple(ended.pop(result.step_id, result) for result in self.results) + tuple(ended.values())
        return Outcome(results, second.facts, second.interrupted, self.seconds + second.seconds, (*self.lost, *second.lost))

    def count(self, status: StepStatus) -> int:
        return sum(1 for result in self.results if result.status is status)

    @property
    def done(self) -> int:
        return self.count(StepStatus.DONE)

    @property
    def satisfied(self) -> int:
        return self.count(StepStatus.SATISFIED)

    @property
    def failed(self) -> int:
        return self.count(StepStatus.FAILED)

    @property
    def skipped(self) -> int:
        return self.count(StepStatus.SKIPPED)

    @property
    def failures(self) -> Sequence[StepResult]:
        return [result for result in self.results if result.status is StepStatus.FAILED]

    @property
    def complete(self) -> bool:
        """Whether every step is done and every replica that had none is still there."""
        return not (self.failed or self.skipped or any(lost.ours for lost in self.lost))

    @property
    def exit_code(self) -> int:
        """130 interrupted, 3 when something failed, was skipped or was lost, else 0."""
        if self.interrupted:
            return 130
        return 0 if self.complete else 3

    @property
    def result(self) -> str:
        """The word that the state keeps of the run: `done`, `partial`, `failed` or `interrupted`."""
        if self.interrupted:
            return "interrupted"
        if self.complete:
            return "done"
        return "partial" if self.done or self.satisfied else "failed"
