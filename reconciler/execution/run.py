"""Carries a plan out: steps begin when what they need is done, as many at once as allowed, and the state knows of each before and after."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType

from reconciler.engines.protocol import Engine
from reconciler.execution.actor import Actor
from reconciler.execution.breaker import Breakers, Gate
from reconciler.execution.events import (
    Event,
    ResidentLost,
    RunFinished,
    RunStarted,
    StepDone,
    StepFailed,
    StepInterrupted,
    StepProgress,
    StepSkipped,
)
from reconciler.execution.graph import StepGraph
from reconciler.execution.health import with_health
from reconciler.execution.kinds.model.actor import ModelActor, ModelRun
from reconciler.execution.kinds.model.card_limits import Levels
from reconciler.execution.kinds.model.evictions import Evictions
from reconciler.execution.kinds.model.learning import LookAtCards, learned_needs
from reconciler.execution.kinds.model.recording import ReplicaPlaces, as_asked, charged
from reconciler.execution.kinds.model.unplanned_residents import names_reckoned_with
from reconciler.execution.leased import LeasedEngine
from reconciler.execution.ledger import Ledger
from reconciler.execution.outcome import ExecutionOptions, Outcome, StepResult, StopSignal
from reconciler.execution.remedies import Remedies, failed_within_hour
from reconciler.execution.resource import ResourceActor, StepOfResource
from reconciler.execution.settling import find_lost, look_again, settle_state
from reconciler.execution.step import Run, StepRun
from reconciler.fleet import Desired, EngineId, Fleet, FleetFacts
from reconciler.planning import Action, ModelStep, Plan, Step, model_steps
from reconciler.state import StateWriter, StepStatus

NO_ACTORS: Mapping[str, ResourceActor] = MappingProxyType({})


def ignore_event(event: Event) -> None:
    """Ignores events."""


async def execute(
    plan: Plan,
    fleet: Fleet,
    desired: Desired,
    *,
    facts: FleetFacts,
    engines: Callable[[EngineId], Engine],
    state: StateWriter,
    run_id: int,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    options: ExecutionOptions | None = None,
    listen: Callable[[Event], None] = ignore_event,
    stop: StopSignal | None = None,
    cards: LookAtCards | None = None,
    actors: Mapping[str, ResourceActor] = NO_ACTORS,
) -> Outcome:
    """Does the steps of `plan` and records what came of them.

    `facts` are those that the plan was made from; engines that no step touches are not asked again. `engines` gives the adapter of an
    engine, which stays the caller's to close; so are `state.begin_run`, whose id is `run_id`, and `state.finish_run` with the outcome's
    `result`. `clock` counts seconds. `cards` looks at the cards of nodes where models were loaded, for what the loads took, and right
    before a load for heat and memory pressure; None: they cannot be seen, and the `facts` tell the levels. `actors` carry out the steps of
    other kinds than models, by kind. A stop asked for through `stop`
    begins no more steps and lets those that run settle; cancelling the task cuts them, and journals them as interrupted.

    Raises GpurecError for a plan whose steps do not hang together, StateError when the lease is lost or the state cannot be written.
    """
    how = with_health(options or ExecutionOptions(), desired.policy.health)

    def leased(at: EngineId) -> Engine:
        return LeasedEngine(engines(at), state.prove_held)

    run = _Run(plan, fleet, desired, facts, leased, state, run_id, clock, sleep, how, listen, stop or StopSignal(), cards, actors)
    return await run.go()


class _Run:
    def __init__(
        self,
        plan: Plan,
        fleet: Fleet,
        desired: Desired,
        facts: FleetFacts,
        engines: Callable[[EngineId], Engine],
        state: StateWriter,
        run_id: int,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
        options: ExecutionOptions,
        listen: Callable[[Event], None],
        stop: StopSignal,
        cards: LookAtCards | None,
        actors: Mapping[str, ResourceActor],
    ) -> None:
        places = ReplicaPlaces(fleet, desired, facts)
        reckoned = names_reckoned_with(plan, facts)
        remedies = Remedies(desired.policy.remediation, failed_within_hour(state, facts.at))
        before = state.applied()
        levels = Levels(plan, desired.policy, facts, before.heat, cards, clock)
        evictions = Evictions(plan, places.models, state)
        self._run = Run(run_id, state, clock, sleep, listen, stop)
        ledger = Ledger(plan)
        self._models = ModelRun(self._run, plan, places, engines, options, ledger, reckoned, remedies, levels, evictions, before.replicas)
        self._plan, self._options = plan, options
        self._graph = StepGraph(plan.steps)
        self._breakers = Breakers(desired.policy.breaker, clock)
        self._fleet, self._desired, self._facts, self._cards = fleet, desired, facts, cards
        self._actors = actors
        self._results: dict[str, StepResult] = {}
        self._unwritten: list[StepResult] = []
        self._adopted: list[Step] = []
        self._failures = 0

    async def go(self) -> Outcome:
        run, stop = self._run, self._run.stop
        started = run.clock()
        run.listen(RunStarted(run.id, len(self._plan.steps)))
        await self._do_all(stop)
        left = self._graph.never_begun()
        interrupted = stop.requested and bool(left)
        for number in left:
            if stop.requested:
                self._skip(number, "interrupted", "the run was asked to stop before it began")
            else:
                self._skip(number, "stopped", "an earlier step failed; --keep-going goes on with what does not need it")
        self._write()
        facts = await look_again(self._models, self._facts)
        corrections = settle_state(self._models, facts, self._results)
        for result in corrections:
            self._results[result.step_id] = result
        self._tell(corrections)
        await self._learn(facts)
        run.journal(*corrections)
        results = tuple(self._results[step.id] for step in self._plan.steps)
        lost = find_lost(self._models, self._facts, facts)
        for one in lost:
            run.listen(ResidentLost(one.address, one.message, one.ours))
        outcome = Outcome(results, facts, interrupted, run.clock() - started, tuple(lost))
        cut = outcome.count(StepStatus.INTERRUPTED)
        run.listen(RunFinished(outcome.done, outcome.satisfied, outcome.failed, outcome.skipped, cut, outcome.seconds))
        return outcome

    async def _learn(self, after: FleetFacts) -> None:
        """Keeps what the loads took, once all is settled and the cards are as they will be."""
        state = self._run.state
        nodes = {step.node for step in self._plan.steps if step.action is Action.LOAD and self._results[step.id].status is StepStatus.DONE}
        cards = await self._cards(nodes) if self._cards is not None and nodes else {}
        fleet, desired = self._fleet, self._desired
        needs = list(learned_needs(self._plan, fleet, desired, self._facts, after, cards, state.applied, self._results))
        if needs:
            state.learn(needs)

    async def _do_all(self, stop: StopSignal) -> None:
        running: dict[asyncio.Task[StepResult], int] = {}
        try:
            while True:
                self._begin_steps(running, stop)
                self._write()
                if not running:
                    return
                done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                for task in sorted(done, key=running.__getitem__):
                    number = running.pop(task)
                    self._breakers.end(self._graph.steps[number], task.result())
                    self._settle(number, task.result())
        except asyncio.CancelledError:
            await self._cut(running)
            self._give_up_the_rest()
            raise
        finally:
            await self._cut(running)

    def _begin_steps(self, running: dict[asyncio.Task[StepResult], int], stop: StopSignal) -> None:
        waiting: list[int] = []
        while len(running) < self._options.parallelism and not stop.requested and not self._failed_enough:
            number = self._graph.take()
            if number is None:
                break
            step = self._graph.steps[number]
            adopts = step.action is Action.ADOPT and isinstance(step, ModelStep)
            gate = Gate.OPEN if adopts else self._breakers.gate(step)
            if adopts:
                self._adopt(number, step)
            elif gate is Gate.ON_TRIAL:
                waiting.append(number)
            elif gate is Gate.BARRED:
                self._skip(number, "breaker_open", self._breakers.why(step))
                self._take_along(number)
            else:
                self._breakers.begin(step)
                running[asyncio.ensure_future(StepRun(self._run, step, self._actor(step)).go())] = number
        for number in waiting:
            self._graph.put_back(number)

    def _actor(self, step: Step) -> Actor:
        def progress(status: str, completed: int | None, total: int | None) -> None:
            self._run.listen(StepProgress(step, status, completed, total))

        if isinstance(step, ModelStep):
            return ModelActor(self._models, step, progress)
        return StepOfResource(self._run, self._actors[step.kind], step, progress, self._models.levels.holds)

    @property
    def _failed_enough(self) -> bool:
        options = self._options
        return not options.keep_going and self._failures > (options.max_fail or 0)

    def _adopt(self, number: int, step: Step) -> None:
        """Nothing is sent, so nothing is waited for: adoptions are written together, a fleet of them in one transaction."""
        self._adopted.append(step)
        result = StepResult(step.id, step.address, step.action, StepStatus.DONE)
        self._unwritten.append(result)
        self._settle(number, result)

    def _settle(self, number: int, result: StepResult) -> None:
        self._results[result.step_id] = result
        self._failures += result.status is StepStatus.FAILED
        self._take_along(number, result.status in (StepStatus.DONE, StepStatus.SATISFIED))

    def _take_along(self, number: int, succeeded: bool = False) -> None:
        """Gives a step back to the graph; one that did not succeed takes those along that need it."""
        for lost, cause in self._graph.finish(number, succeeded):
            needed = self._graph.steps[cause]
            self._skip(lost, "need_not_met", f"it waited for {needed.action.value} of {needed.address}, which was not done", needed.id)

    def _skip(self, number: int, code: str, message: str, waited_for: str | None = None) -> None:
        step = self._graph.steps[number]
        result = StepResult(step.id, step.address, step.action, StepStatus.SKIPPED, code, message, waited_for)
        self._results[step.id] = result
        self._unwritten.append(result)
        self._run.listen(StepSkipped(step, code, message, waited_for))

    def _write(self) -> None:
        """Journals the steps that ended without anything being sent, and records what was adopted."""
        run = self._run
        rows = []
        for step in model_steps(self._adopted):
            engine, charges = self._facts.engine(step.at), charged(self._plan, step.address, self._models.rows.get(step.address))
            row = as_asked(self._models.places, step.address, step.engine_name, engine, charges)
            if row is not None:
                rows.append(row)
        if rows:
            run.state.record(rows)
        if self._unwritten:
            run.journal(*self._unwritten)
        adopted, self._adopted, self._unwritten = self._adopted, [], []
        for one in adopted:
            run.listen(StepDone(one, 0.0))

    def _tell(self, corrections: list[StepResult]) -> None:
        steps = {step.id: step for step in self._graph.steps} if corrections else {}
        for result in corrections:
            code, message, step = result.code or "", result.message or "", steps[result.step_id]
            if result.status is StepStatus.FAILED:
                self._run.listen(StepFailed(step, code, message, result.seconds))
            else:
                self._run.listen(StepSkipped(step, code, message))

    def _give_up_the_rest(self) -> None:
        """Journals the steps that never began when the run is cut short."""
        for number in self._graph.never_begun():
            self._skip(number, "interrupted", "the run was cut before it began")
        self._write()

    async def _cut(self, running: dict[asyncio.Task[StepResult], int]) -> None:
        """Ends what still runs when the run itself is cut short."""
        for task in running:
            task.cancel()
        for number, ended in zip(running.values(), await asyncio.gather(*running, return_exceptions=True), strict=True):
            if isinstance(ended, asyncio.CancelledError):
                self._run.listen(StepInterrupted(self._graph.steps[number]))
        running.clear()
