"""Look, tell what is new, and apply where that is allowed; again and again. It ends only where it is asked to."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from reconciler.execution import StopSignal
from reconciler.fleet import GpurecError, LockHeld, StalePlan, Topic, first_border
from reconciler.operations import clock
from reconciler.operations.apply import plan_to_apply
from reconciler.operations.apply_result import ApplyResult
from reconciler.operations.exit_status import Command, ExitStatus, exit_status, of_apply, of_error, of_plan
from reconciler.operations.observation import PlanOptions
from reconciler.operations.proposal import Proposal, plan_fleet
from reconciler.operations.records import Records
from reconciler.operations.reporter import Reporter
from reconciler.operations.run import ApplyOptions, carry_out
from reconciler.operations.saved_plan_checks import check_guards
from reconciler.operations.settings import WorkspaceSettings
from reconciler.operations.workspace import load, state_of
from reconciler.service import conditions
from reconciler.service.alerts import Alerts
from reconciler.service.apart import apart
from reconciler.service.conditions import NONE, Condition, Conditions
from reconciler.service.events import AlertLost, Looked, Over, Reloaded, Started, Told, TurnFailed, WatchEnded, WatchEvent
from reconciler.service.history import OF_HISTORY, History
from reconciler.service.sharding import WHOLE, FleetPart, Sharding, still_told
from reconciler.state import Shard, StepStatus
from reconciler.value_class import value_class
from reconciler.workspace import Workspace

BACK_OFF = 60.0
"""Seconds until the next look after one that did not see or mend everything, doubled with each such look in a row; never longer than the
interval."""
AFTER_BORDER = 0.5
"""Seconds after the hours of a model began or ended at which the next look follows."""
JITTER = 0.1
"""By so much of it a pause is longer or shorter, so that many loops do not look at once."""
_LOOK = PlanOptions(activity=True)
_OF_A_RUN = frozenset({Topic.FAILED, Topic.ERROR})
"""What only the end of a turn can say: whether it still holds is open while a plan is carried out."""

Tell = Callable[[WatchEvent], None]
Found = TypeVar("Found")


@value_class
class WatchOptions:
    """`interval` in seconds from the end of a look to the next; `applies`: carry plans out. `command` is what history and the lock say of
    its runs. `shard` is the part of the fleet that it looks at, None for all of it."""

    interval: float = 300.0
    applies: bool = False
    command: str = "watch"
    parallelism: int = 10
    shard: Shard | None = None


class Signals:
    """What others ask of the loop while it goes on. To be set on the loop's own thread."""

    def __init__(self) -> None:
        self.stop = StopSignal()
        self._reload = False
        self._stopped, self._woken = asyncio.Event(), asyncio.Event()
        self._cut: Callable[[], object] | None = None

    def request_stop(self) -> None:
        """Ends the loop: at once while it waits or looks, after the running steps while it applies. Asked a second time, it cuts those."""
        if self.stop.requested and self._cut is not None:
            self._cut()
        self.stop.request_stop()
        self._stopped.set()
        self._woken.set()

    def request_reload(self) -> None:
        """Has the files read again before the next look, which follows at once."""
        self._reload = True
        self._woken.set()

    def wake(self) -> None:
        """Has the next look made at once."""
        self._woken.set()

    def take_reload(self) -> bool:
        """Whether the files are to be read again; once."""
        asked, self._reload = self._reload, False
        return asked

    async def pause(self, seconds: float) -> bool:
        """Waits so long, or until something is asked, and says which."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._woken.wait()
        asked = self._woken.is_set()
        self._woken.clear()
        return asked

    async def until_stopped(self, work: Coroutine[Any, Any, None]) -> None:
        """Does work that changes nothing, and gives it up as soon as the loop is to end."""
        doing, stopped = asyncio.ensure_future(work), asyncio.ensure_future(self._stopped.wait())
        try:
            await asyncio.wait({doing, stopped}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopped.cancel()
            if not doing.done():
                doing.cancel()
                await asyncio.wait({doing})
        if not doing.cancelled():
            doing.result()

    async def cuttable(self, work: Coroutine[Any, Any, ApplyResult]) -> ApplyResult:
        """Carries something out that may be cut, and says then what it did."""
        doing = asyncio.ensure_future(work)
        self._cut = doing.cancel
        try:
            return await doing
        finally:
            self._cut = None


@dataclass(slots=True)
class Turn:
    """One look at a part of the fleet, and what came of it: `proposal` None where there was none, `result` None where nothing was carried
    out, `gave_way` where another loop of the fleet was at it."""

    proposal: Proposal | None = None
    result: ApplyResult | None = None
    error: Exception | None = None
    found: list[Condition] = field(default_factory=list)
    part: FleetPart = WHOLE
    gave_way: bool = False

    @property
    def incomplete(self) -> bool:
        """Something could not be seen or mended: the next look follows sooner."""
        if self.error is not None or self.proposal is None or self.gave_way or self.part.is_incomplete(self.proposal):
            return True
        return self.result is not None and any(one.status not in (StepStatus.DONE, StepStatus.SATISFIED) for one in self.result.steps)

    @property
    def done(self) -> int:
        """Steps that were carried out."""
        return sum(one.status is StepStatus.DONE for one in self.result.steps) if self.result is not None else 0

    @property
    def status(self) -> ExitStatus:
        """What a command that did only this ends with."""
        if self.error is not None:
            return of_error(self.error)
        if self.proposal is None:
            return ExitStatus.INTERRUPTED
        if self.result is None:
            drifted = {ExitStatus.CHANGED} if self.proposal.plan.drift else set()
            return exit_status(Command.PLAN_DETAILED, of_plan(self.proposal.plan) | drifted)
        return exit_status(Command.APPLY, of_apply(self.proposal.plan, self.result))


class Watch:
    """One loop over one fleet. `tell` hears of everything; `pause` waits (tests have one that does not); `jitter` gives numbers 0 to 1.

    What is not as it should be is kept from look to look in `holding`, and the last look in `last`. No look holds the state's lease; an
    apply holds it while it runs.
    """

    def __init__(
        self,
        settings: WorkspaceSettings,
        options: WatchOptions,
        tell: Tell,
        signals: Signals,
        *,
        pause: Callable[[float], Awaitable[bool | None]] | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._settings = settings
        self._options = options
        self._tell = tell
        self._signals = signals
        self._pause = pause or signals.pause
        self._jitter = jitter
        self._incomplete = 0
        self._looked = clock.moment()
        self._alone = asyncio.Lock()
        self._alerts: Alerts | None = None
        self._history = History(settings, tell)
        self._sharding = Sharding(options.shard, options.interval) if options.shard is not None else None
        self.workspace: Workspace | None = None
        self.holding: Conditions = NONE
        self.last: Proposal | None = None
        self.last_error: Exception | None = None
        self.last_at: float | None = None
        """When the last look that saw the fleet ended, in seconds of `time.monotonic`."""

    @property
    def records(self) -> Records:
        """What the last day and this loop saw of each model."""
        return self._history.records

    @property
    def interval(self) -> float:
        return self._options.interval

    async def run(self) -> None:
        """Looks until it is asked to end. Raises GpurecError where the files are wrong before the first look: a person is there then."""
        workspace = await load(self._settings, self._tell)
        if self._options.shard is not None:
            state_of(self._settings, workspace).shards(workspace.name)
        self._tell(Started(workspace.name, self._options.applies, self._options.interval, self._options.shard))
        async with self._alerting():
            mended = False
            while not self._signals.stop.requested:
                async with self._alone:
                    turn = await self._turn(workspace)
                if self._signals.stop.requested:
                    break
                mended = turn.done > 0 and not turn.incomplete and not mended
                if not mended:  # else the next look, whether it helped, follows at once
                    await self._rest(self._pause_after())
                if self._signals.take_reload():
                    workspace = await self._reloaded(workspace)
            async with self._alone:  # a plan that was approved ends its running steps first
                pass
        self._tell(WatchEnded())

    async def once(self) -> ExitStatus:
        """One look, and one apply where that is allowed; the exit status of a command that does just that."""
        workspace = await load(self._settings, self._tell)
        async with self._alerting():
            return (await self._turn(workspace)).status

    async def _rest(self, seconds: float) -> None:
        if self._sharding is not None:
            await self._sharding.pause(seconds, self._pause)
        else:
            await self._pause(seconds)

    @asynccontextmanager
    async def _alerting(self) -> AsyncIterator[None]:
        async with Alerts(lambda webhook, why, again: self._tell(AlertLost(webhook, why, again))) as self._alerts:
            yield

    def look_soon(self) -> None:
        """Has the next look made at once: something that is wanted has changed."""
        self._signals.wake()

    async def planned(self) -> Proposal:
        """A plan of now, from the files that the loop goes by. Changes nothing."""
        return await self._apart(lambda tell: plan_fleet(self._settings, _LOOK, tell, workspace=self.workspace))

    async def approved(self, digest: str, command: str) -> tuple[Proposal, asyncio.Task[ApplyResult]]:
        """Carries out the plan of this digest, if it still is the plan of now, and nothing else: gives it, and the run once that has begun.
        It waits for what the loop is doing, and the loop for it. `command` is what history says of it.

        Raises StalePlan for another plan, GuardRefused, LockHeld, and whatever else a plan may raise.
        """
        await self._alone.acquire()
        try:
            options = ApplyOptions(self._options.parallelism, keep_going=True, command=command, expect_digest=digest)
            proposal, options = await self._to_apply(options, self.workspace)
            check_guards(proposal.plan)
        except BaseException:
            self._alone.release()
            raise
        return proposal, asyncio.ensure_future(self._approved(proposal, options))

    async def _approved(self, proposal: Proposal, options: ApplyOptions) -> ApplyResult:
        try:
            result = await self._carried_out(proposal, options)
            before = (one for one in self.holding.values() if one.topic is not Topic.FAILED)
            lost = await self._history.add(proposal, result)
            self._settle([*before, *conditions.of_result(proposal.plan, result), *lost])
            return result
        finally:
            self._alone.release()
            self._signals.wake()

    def _settle(self, found: Iterable[Condition]) -> None:
        """Tells what is news of what was found; it holds from here on."""
        news = conditions.compare(self.holding, found)
        self.holding = news.now
        for events, told in ((Told, news.told), (Over, news.over)):
            for one in told:
                self._tell(events(one))
                if self._alerts is not None and self.workspace is not None:
                    self._alerts.send(self.workspace, one, over=events is Over)

    async def _turn(self, workspace: Workspace) -> Turn:
        start, turn, self._looked = time.monotonic(), Turn(), clock.moment()
        self.workspace = workspace
        try:
            await self._signals.until_stopped(self._look(workspace, turn))
            self.holding = still_told(self.holding, turn.part)
            seen = turn.proposal
            if seen is not None and self._options.applies and (turn.part.has_work(seen) or await _left_locked(seen)):
                self._settle([*turn.found, *(one for one in self.holding.values() if one.topic in _OF_A_RUN)])
                await self._apply_in_turn(workspace, turn)
        except Exception as error:  # noqa: BLE001  whatever comes up in one look, the next is made
            turn.error = error
        if self._signals.stop.requested and turn.result is None:
            return turn
        known = {conditions.ITSELF}
        if turn.proposal is not None:
            known |= OF_HISTORY
            turn.found.extend(lost := await self._history.add(turn.proposal, turn.result, turn.part.nodes))
        else:
            lost = ()
        if turn.error is None:
            self._settle(turn.found)
        else:  # then nothing else is known, and all that held still does
            self._tell(TurnFailed(turn.error))
            held = (one for one in self.holding.values() if one.topic is not Topic.ERROR or one.subject not in known)
            self._settle([*held, *lost, conditions.of_error(turn.error)])
        if turn.proposal is not None:
            self.last, self.last_at = turn.proposal, time.monotonic()
        self.last_error = turn.error
        self._incomplete = self._incomplete + 1 if turn.incomplete else 0
        as_wanted = turn.proposal.plan.unchanged if turn.proposal is not None else 0
        self._tell(Looked(as_wanted, len(self.holding), turn.done, time.monotonic() - start))
        return turn

    async def _look(self, workspace: Workspace, turn: Turn) -> None:
        if self._sharding is not None:
            store = await asyncio.to_thread(state_of, self._settings, workspace)
            turn.part = await self._sharding.part(store, workspace.name, workspace.fleet.nodes.keys())
        choice = replace(_LOOK, part=turn.part.nodes, elsewhere=turn.part.elsewhere)
        turn.proposal = await self._apart(lambda tell: plan_fleet(self._settings, choice, tell, workspace=workspace))
        if self._sharding is not None:
            await self._sharding.looked(turn.part, turn.proposal.facts)
        still = {step.address for step in turn.proposal.plan.steps}
        turn.found = self._told(turn)
        turn.found.extend(one for one in self.holding.values() if one.topic is Topic.FAILED and one.subject in still)

    async def _apart(self, work: Callable[[Reporter], Coroutine[Any, Any, Found]]) -> Found:
        """Looks and runs wait for the state, whose server may be away: signals and requests are heard meanwhile."""
        return await apart(work, self._tell)

    async def _to_apply(self, options: ApplyOptions, workspace: Workspace | None) -> tuple[Proposal, ApplyOptions]:
        return await self._apart(lambda tell: plan_to_apply(self._settings, _LOOK, options, tell, workspace=workspace))

    async def _carried_out(self, proposal: Proposal, options: ApplyOptions) -> ApplyResult:
        run = self._apart(lambda tell: carry_out(self._settings, proposal, options, tell, self._signals.stop))
        return await self._signals.cuttable(run)

    def _told(self, turn: Turn) -> list[Condition]:
        """What is wrong by the plan of a turn, as far as it is this loop's to tell."""
        assert turn.proposal is not None
        return [*turn.part.found, *filter(turn.part.tells, conditions.of_plan(turn.proposal.plan))]

    async def _apply_in_turn(self, workspace: Workspace, turn: Turn) -> None:
        """Applies; of several loops over one fleet, one at a time, and the others look again later."""
        if self._sharding is None:
            return await self._apply(workspace, turn)
        seen, found = turn.proposal, turn.found
        assert seen is not None
        try:
            async with self._sharding.alive():
                await self._apply(workspace, turn)
        except (LockHeld, StalePlan) as error:
            if isinstance(error, LockHeld) and not await asyncio.to_thread(self._sharding.is_of_another, seen.state):
                raise
            turn.proposal, turn.found, turn.gave_way = seen, found, True

    async def _apply(self, workspace: Workspace, turn: Turn) -> None:
        """Plans once more, over the whole fleet, now that nobody else holds the state, and carries that out, where a guard lets it."""
        options = ApplyOptions(self._options.parallelism, keep_going=True, command=self._options.command)
        turn.proposal, options = await self._to_apply(options, workspace)
        turn.found = self._told(turn)
        work = WHOLE.has_work(turn.proposal) or await _left_locked(turn.proposal)
        if turn.proposal.plan.refusals or self._signals.stop.requested or not work:
            return
        turn.result = await self._carried_out(turn.proposal, options)
        turn.found.extend(conditions.of_result(turn.proposal.plan, turn.result))

    async def _reloaded(self, last: Workspace) -> Workspace:
        try:
            workspace = await load(self._settings, self._tell)
        except GpurecError as error:
            self._tell(Reloaded(error))
            return last
        self.workspace = workspace
        self._tell(Reloaded())
        return workspace

    def _pause_after(self) -> float:
        """Seconds until the next look: at the latest right after the hours of a model began or ended since the last one was begun."""
        soon = BACK_OFF * 2.0 ** min(self._incomplete - 1, 20) if self._incomplete else self._options.interval
        pause = min(self._options.interval, soon) * (1 - JITTER + 2 * JITTER * self._jitter())
        border = first_border(self.workspace.desired.hours, self._looked) if self.workspace is not None else None
        return pause if border is None else min(pause, max(0.0, (border - clock.moment()).total_seconds()) + AFTER_BORDER)


async def _left_locked(proposal: Proposal) -> bool:
    """Whether a run that died holds the lock: an apply that does nothing else takes it over, and without one no history is kept."""
    if proposal.plan.refusals:
        return False
    lock = await asyncio.to_thread(proposal.state.lock)
    return lock is not None and not lock.standing.holds
