"""What happens during a run, as values: progress bars, plain lines and logs are subscribers of this one stream."""

from __future__ import annotations

from dataclasses import dataclass

from reconciler.planning import Step


@dataclass(frozen=True, slots=True)
class RunStarted:
    run_id: int
    steps: int


@dataclass(frozen=True, slots=True)
class StepStarted:
    """The step is about to send something, or to wait for something."""

    step: Step


@dataclass(frozen=True, slots=True)
class StepProgress:
    """How far a pull is; bytes are None when the engine does not say. `completed` may go down when a part is fetched again."""

    step: Step
    status: str
    completed: int | None = None
    total: int | None = None


@dataclass(frozen=True, slots=True)
class StepDone:
    """`satisfied`: it was so already and nothing was sent. `seconds` from its first look to its last."""

    step: Step
    seconds: float
    satisfied: bool = False


@dataclass(frozen=True, slots=True)
class StepRetried:
    """A load failed and is tried again after `pause` seconds; `tries` counts from 1."""

    step: Step
    code: str
    message: str
    pause: float
    tries: int


@dataclass(frozen=True, slots=True)
class StepFailed:
    """`code` is a reason code such as `cpu_fallback` or `unreachable`; `message` is a sentence."""

    step: Step
    code: str
    message: str
    seconds: float


@dataclass(frozen=True, slots=True)
class StepSkipped:
    """Nothing was sent for it. `waited_for` is the id of the step without which it could not begin; None when that is not why."""

    step: Step
    code: str
    message: str
    waited_for: str | None = None


@dataclass(frozen=True, slots=True)
class StepInterrupted:
    """Cut short while it ran: what became of it is found out by the next probing."""

    step: Step


@dataclass(frozen=True, slots=True)
class ResidentLost:
    """A resident that no step was about is gone at the end. `ours`: a replica of the plan; `message` is a sentence."""

    address: str
    message: str
    ours: bool


@dataclass(frozen=True, slots=True)
class RunFinished:
    """Counts of steps by how they ended, and seconds of the whole run."""

    done: int
    satisfied: int
    failed: int
    skipped: int
    interrupted: int
    seconds: float


Event = (
    RunStarted
    | StepStarted
    | StepProgress
    | StepRetried
    | StepDone
    | StepFailed
    | StepSkipped
    | StepInterrupted
    | ResidentLost
    | RunFinished
)
