"""What a loop saw goes into the history of facts, look by look."""

from __future__ import annotations

from collections import deque

from reconciler.fleet import Frame, GpurecError, LockHeld, StateError, Topic
from reconciler.operations.apply_result import ApplyResult
from reconciler.operations.proposal import Proposal
from reconciler.operations.reporter import Reporter, StateNotice
from reconciler.operations.sampling import Before, sample
from reconciler.operations.settings import WorkspaceSettings
from reconciler.operations.workspace import may_make_folder
from reconciler.service.conditions import Condition

MOST_WAITING = 100
"""Looks that wait for the state while a run holds it; older ones are lost."""


class History:
    """Of one loop."""

    def __init__(self, settings: WorkspaceSettings, report: Reporter) -> None:
        self._settings, self._report = settings, report
        self._before = Before()
        self._waiting: deque[Frame] = deque(maxlen=MOST_WAITING)

    def add(self, seen: Proposal, result: ApplyResult | None) -> Condition | None:
        """Keeps a look and what came of it; says so where that cannot be done. While a run holds the state, it waits for the next look."""
        bounds = seen.workspace.desired.policy.service.history
        if not bounds.size_bytes:
            return None
        try:
            frame, self._before = sample(seen, result, self._before)
            self._waiting.append(frame)
            folder = may_make_folder(self._settings, seen.state)
            notice = seen.state.keep_looks(list(self._waiting), fleet=seen.workspace.name, bounds=bounds, new_folder=folder)
        except LockHeld:
            return None
        except (StateError, OSError) as error:
            sentence = " ".join(one.sentence() for one in error.problems) if isinstance(error, GpurecError) else str(error)
            return Condition(Topic.ERROR, "history", "", type(error).__name__, f"what was seen is not kept: {sentence}")
        self._waiting.clear()
        if notice is not None:
            self._report(StateNotice(notice))
        return None
