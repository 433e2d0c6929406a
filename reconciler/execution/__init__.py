"""Carries a plan out: steps as a graph, acts and waits, the cards' arithmetic on the way, and what the state learns of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler.lazy import lazily

if TYPE_CHECKING:
    from reconciler.execution.events import (
        Event,
        ResidentLost,
        RunFinished,
        RunStarted,
        StepDone,
        StepFailed,
        StepInterrupted,
        StepProgress,
        StepRetried,
        StepSkipped,
        StepStarted,
    )
    from reconciler.execution.health import looked_at
    from reconciler.execution.outcome import ExecutionOptions, LostResident, Outcome, StepResult, StopSignal
    from reconciler.execution.run import execute

__all__ = [
    "Event",
    "ExecutionOptions",
    "LostResident",
    "Outcome",
    "ResidentLost",
    "RunFinished",
    "RunStarted",
    "StepDone",
    "StepFailed",
    "StepInterrupted",
    "StepProgress",
    "StepResult",
    "StepRetried",
    "StepSkipped",
    "StepStarted",
    "StopSignal",
    "execute",
    "looked_at",
]

__getattr__ = lazily(
    __name__,
    {
        "events": (
            "Event",
            "ResidentLost",
            "RunFinished",
            "RunStarted",
            "StepDone",
            "StepFailed",
            "StepInterrupted",
            "StepProgress",
            "StepRetried",
            "StepSkipped",
            "StepStarted",
        ),
        "health": ("looked_at",),
        "outcome": ("ExecutionOptions", "LostResident", "Outcome", "StepResult", "StopSignal"),
        "run": ("execute",),
    },
)
