"""What came of carrying a plan out, also where the run was cut short and has no outcome."""

from __future__ import annotations

from collections.abc import Sequence

from reconciler.execution import Event, LostResident, StepDone, StepFailed, StepInterrupted, StepResult, StepSkipped
from reconciler.planning import Step
from reconciler.state import StepStatus
from reconciler.value_class import value_class


@value_class
class ApplyResult:
    """How each step ended, in the order of the plan. `serial` None: nothing was recorded. `seconds` it took, the wait for the lock
    included. `lost` are residents that no step was about and that are gone."""

    steps: tuple[StepResult, ...] = ()
    serial: int | None = None
    interrupted: bool = False
    lost: tuple[LostResident, ...] = ()
    seconds: float = 0.0


class StepEndings:
    """Follows how steps end, so that a run that is cut short can still say what it did."""

    def __init__(self) -> None:
        self._ended: dict[str, tuple[StepStatus, str | None]] = {}

    def follow(self, event: Event) -> None:
        match event:
            case StepDone(step=step, satisfied=satisfied):
                self._ended[step.id] = (StepStatus.SATISFIED if satisfied else StepStatus.DONE, None)
            case StepFailed(step=step, message=message):
                self._ended[step.id] = (StepStatus.FAILED, message)
            case StepSkipped(step=step, message=message):
                self._ended[step.id] = (StepStatus.SKIPPED, message)
            case StepInterrupted(step=step):
                self._ended[step.id] = (StepStatus.INTERRUPTED, "cut while it ran; the next plan finds out what became of it")
            case _:
                return

    def results(self, steps: Sequence[Step]) -> tuple[StepResult, ...]:
        """How every step ended; one that was not heard of was not begun."""
        not_begun = (StepStatus.SKIPPED, "the run was cut before it began")
        ended = ((step, *self._ended.get(step.id, not_begun)) for step in steps)
        return tuple(StepResult(step.id, step.address, step.action, status, None, message) for step, status, message in ended)
