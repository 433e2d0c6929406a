"""What an operation reports while it goes on, as values: a terminal, a log and a web page are readers of this one stream."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from reconciler.fleet import NodeFacts, Problem
from reconciler.value_class import value_class

if TYPE_CHECKING:
    from reconciler.execution import Event


@value_class
class FileWarning:
    """Something in the files of the workspace is probably not as it was meant."""

    problem: Problem


@value_class
class ProbingStarted:
    """`nodes` nodes are asked now, at once."""

    nodes: int


@value_class
class NodeProbed:
    """One of them answered, or will not."""

    facts: NodeFacts


@value_class
class ProbingEnded:
    """All of them did, or the operation ends early."""


@value_class
class LockAwaited:
    """Another run holds the state, `holder` in one sentence; it is waited for at most `seconds`."""

    holder: str
    seconds: float


@value_class
class StateWarning:
    """What whoever runs this should know of the state: that a lock was taken over, that it is missing, that it will not outlive the job."""

    message: str


@value_class
class StateNotice:
    """What is new about the state with this run: that it was set up, or which fleet it is of from now on."""

    message: str


@value_class
class RescueTakenIn:
    """What the run `run_id` could not write is in the state now; its rescue journal is kept as `kept`."""

    run_id: int
    entries: int
    kept: Path


@value_class
class PlanCorrected:
    """A load ran out of memory, and the plan was made again with the corrected need; `steps` are left, all of them approved."""

    steps: int


@value_class
class CorrectionUnapproved:
    """The corrected need asks for something that was not approved, so the run ends; `step` is the first such step, None where a guard
    refuses."""

    step: str | None


Probing: TypeAlias = ProbingStarted | NodeProbed | ProbingEnded
Message: TypeAlias = FileWarning | LockAwaited | StateWarning | StateNotice | RescueTakenIn | PlanCorrected | CorrectionUnapproved
OperationEvent: TypeAlias = "Event | Probing | Message"
Reporter: TypeAlias = "Callable[[OperationEvent], None]"


def ignore(event: OperationEvent) -> None:
    """The reporter of a caller that wants only the result."""
