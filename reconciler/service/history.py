"""What a loop saw goes into the history of facts, look by look."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence, Set
from contextlib import closing, suppress

from reconciler.fleet import HOUR, LOOK, Frame, GpurecError, LockHeld, Problem, StateError, Topic, timeline
from reconciler.operations.apply_result import ApplyResult
from reconciler.operations.proposal import Proposal
from reconciler.operations.records import DAY, Records
from reconciler.operations.reporter import Reporter, StateNotice
from reconciler.operations.sampling import Before, only_of, sample, seconds_of
from reconciler.operations.settings import WorkspaceSettings
from reconciler.operations.workspace import may_make_folder
from reconciler.service.conditions import Condition

MOST_WAITING = 100
"""Looks that wait for the state while a run holds it; older ones are lost."""
HISTORY, TICKETS = "history", "tickets"
OF_HISTORY = frozenset({HISTORY, TICKETS})
"""Subjects of what it finds wrong."""


class History:
    """Of one loop. `records` are what the last day and this loop saw of each model."""

    def __init__(self, settings: WorkspaceSettings, report: Reporter) -> None:
        self._settings, self._report = settings, report
        self._before = Before()
        self._waiting: deque[Frame] = deque(maxlen=MOST_WAITING)
        self._began = False
        self._wrong: tuple[Condition, ...] = ()
        self.records = Records()

    async def add(self, seen: Proposal, result: ApplyResult | None, part: Set[str] | None = None) -> Sequence[Condition]:
        """Keeps a look and what came of it, of the nodes of `part` where others look at the rest, and has waiting tickets taken in; says so
        where that cannot be done. While a run holds the state, it waits for the next look."""
        if not self._began:
            self._began = True
            self.records = await asyncio.to_thread(_past, seen)
        frame, self._before = sample(seen, result, self._before)
        frame = frame if part is None else only_of(frame, part)
        self.records.add(frame)
        bounds = seen.workspace.desired.policy.service.history
        if bounds.size_bytes:
            self._waiting.append(frame)
        else:
            self._waiting.clear()
        try:
            folder = may_make_folder(self._settings, seen.state)
            looks = list(self._waiting)  # also with none: tickets that wait are taken in
            notice = await asyncio.to_thread(seen.state.keep_looks, looks, fleet=seen.workspace.name, bounds=bounds, new_folder=folder)
            unreadable = await asyncio.to_thread(seen.state.unreadable_tickets)
        except LockHeld:
            return self._wrong
        except (StateError, OSError) as error:
            sentence = _sentences(error.problems) if isinstance(error, GpurecError) else str(error)
            self._wrong = (Condition(Topic.ERROR, HISTORY, "", type(error).__name__, f"what was seen is not kept: {sentence}"),)
            return self._wrong
        self._waiting.clear()
        if notice is not None:
            self._report(StateNotice(notice))
        self._wrong = tuple(Condition(Topic.ERROR, TICKETS, str(one.where), one.sentence(), one.sentence()) for one in unreadable)
        return self._wrong


def _sentences(problems: Iterable[Problem]) -> str:
    return " ".join(one.sentence() for one in problems)


def _past(seen: Proposal) -> Records:
    """What the loop before this one saw in the last day; where it cannot be read, the first look that is to be kept says why."""
    with suppress(StateError, OSError), closing(seen.state.reader()) as state:
        return Records(timeline(state.frames((LOOK, HOUR), seconds_of(seen.facts.at) - DAY)))
    return Records()
