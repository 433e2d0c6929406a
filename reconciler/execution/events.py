"""What happens during a run, as values: progress bars, plain lines and logs are subscribers of this one stream."""

from __future__ import annotations

from reconciler.planning import Step
from reconciler.value_class import value_class


@value_class
class RunStarted:
    run_id: int
    steps: int


@value_class
class StepStarted:
    """The step is about to send something, or to wait for something."""

    step: Step


@value_class
class StepProgress:
    """How far a pull is; bytes are None when the engine does not say. `completed` may go down when a part is fetched again."""

    step: Step
    status: str
    completed: int | None = None
    total: int | None = None


@value_class
class StepDone:
    """`satisfied`: it was so already and nothing was sent. `seconds` from its first look to its last."""

    step: Step
    seconds: float
    satisfied: bool = False


@value_class
class StepRetried:
    """A load failed and is tried again after `pause` seconds; `tries` counts from 1."""

    step: Step
    code: str
    message: str
    pause: float
    tries: int


@value_class
class StepFailed:
    """`code` is a reason code such as `cpu_fallback` or `unreachable`; `message` is a sentence."""

    step: Step
    code: str
    message: str
    seconds: float


@value_class
class StepSkipped:
    """Nothing was sent for it. `waited_for` is the id of the step without which it could not begin; None when that is not why."""

    step: Step
    code: str
    message: str
    waited_for: str | None = None


@value_class
class StepInterrupted:
    """Cut short while it ran: what became of it is found out by the next probing."""

    step: Step


@value_class
class ResidentLost:
    """A resident that no step was about is gone at the end. `ours`: a replica of the plan; `message` is a sentence."""

    address: str
    message: str
    ours: bool


@value_class
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
