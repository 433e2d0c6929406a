"""One step from its first look to its place in the state: journal before, act, record after."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, field, replace

from reconciler.engines.protocol import Engine, PullProgress
from reconciler.execution.asked import asked_of
from reconciler.execution.events import Event, StepDone, StepFailed, StepProgress, StepRetried, StepSkipped, StepStarted
from reconciler.execution.kinds.model.acts import Effect, Skip, Work, carry_out, names_to_delete
from reconciler.execution.kinds.model.admission import refusing
from reconciler.execution.kinds.model.card_limits import Levels
from reconciler.execution.kinds.model.evictions import Evictions
from reconciler.execution.kinds.model.recording import Places, replica_row
from reconciler.execution.kinds.model.unplanned_residents import newcomer_bytes
from reconciler.execution.kinds.model.waits import Clock, Sleep, Watch
from reconciler.execution.ledger import Ledger
from reconciler.execution.outcome import ExecutionOptions, StepResult, StopSignal
from reconciler.execution.remedies import LOADS, OUT_OF_MEMORY, Remedies
from reconciler.fleet import EngineError, EngineFacts, EngineId, Ensure, LoadKey, Measured, format_bytes
from reconciler.planning import RELOADS, Action, Cause, Plan, Step, asked_digest
from reconciler.state import Learned, Measurement, SettledStep, StateWriter, StepStatus

_NOTHING_LEFT_BEHIND = frozenset({"load_failed", "not_resident", "out_of_memory", "not_installed", "verify_failed"})
"""Failures of a load after which the card holds no more than before; after any other it may."""
_LEAVES_RESIDENT = frozenset({Action.LOAD, Action.RELOAD, Action.UPDATE, Action.WAIT})


@dataclass(slots=True)
class Bench:
    """What all steps of one run share."""

    plan: Plan
    places: Places
    engines: Callable[[EngineId], Engine]
    state: StateWriter
    run_id: int
    clock: Clock
    sleep: Sleep
    options: ExecutionOptions
    listen: Callable[[Event], None]
    ledger: Ledger
    reckoned: Mapping[EngineId, Set[str]]
    remedies: Remedies
    levels: Levels
    stop: StopSignal
    evictions: Evictions
    touched: set[EngineId] = field(default_factory=set)
    unloaded: set[str] = field(default_factory=set)

    def journal(self, *results: StepResult) -> None:
        """Writes how steps ended that had not begun, in one transaction."""
        self.state.steps_settled(
            self.run_id, [SettledStep(one.step_id, one.address, one.action.value, one.status, one.reason) for one in results]
        )


async def do_step(bench: Bench, step: Step) -> StepResult:
    """Carries one step out and says how it ended. Only the state's own errors (and being cancelled) come out as exceptions."""
    return await _Doing(bench, step).run()


class _Doing:
    def __init__(self, bench: Bench, step: Step) -> None:
        self._bench, self._step = bench, step
        self._at = EngineId(step.node, step.engine)
        self._began = self._booked = False
        self._watch: Watch | None = None
        self._started = bench.clock()

    async def run(self) -> StepResult:
        bench, step = self._bench, self._step
        try:
            effect = await self._tried()
        except Skip as skip:
            result = self._result(StepStatus.SKIPPED, skip.code, skip.message)
            bench.listen(StepSkipped(step, skip.code, skip.message))
        except EngineError as error:
            self._note_evictions()
            self._note_incident()
            if self._booked and step.action is Action.LOAD and error.code in _NOTHING_LEFT_BEHIND:
                bench.ledger.give_back(step)
            learned = await self._learned(error.code)
            message = str(error) + (learned or self._declared_too_low(error.code))
            result = replace(self._result(StepStatus.FAILED, error.code, message), corrected=bool(learned))
            self._finish(result)
            bench.listen(StepFailed(step, error.code, message, result.seconds))
            return result
        except asyncio.CancelledError:
            if self._began:
                bench.state.step_finished(bench.run_id, step.id, StepStatus.INTERRUPTED, "interrupted: cut short while it ran")
            else:
                bench.journal(self._result(StepStatus.INTERRUPTED, "interrupted", "cut short before anything was sent"))
            raise
        else:
            self._keep(effect)
            self._note_evictions()
            self._note_incident()
            result = self._result(StepStatus.SATISFIED if effect.satisfied else StepStatus.DONE)
            self._finish(result)
            bench.listen(StepDone(step, result.seconds, effect.satisfied))
            return result
        self._finish(result)
        return result

    async def _tried(self) -> Effect:
        """Carries the step out; a load that failed, and may not fail again, is tried again after a pause, unless the run is to stop."""
        bench, step, tries = self._bench, self._step, 0
        failure: EngineError | None = None
        while True:
            try:
                if (held := await bench.levels.holds(step)) is not None:
                    raise Skip(*held)
                return await carry_out(self._work())
            except Skip:
                if failure is None:
                    raise
                if not self._booked and failure.code not in _NOTHING_LEFT_BEHIND:
                    self._book()
                raise failure from None
            except EngineError as error:
                pause = None if bench.stop.requested else bench.remedies.pause(step, error.code, tries)
                if pause is None:
                    raise
                failure, tries = error, tries + 1
                bench.listen(StepRetried(step, error.code, str(error), pause, tries))
                if self._booked:  # the next try books it again
                    bench.ledger.give_back(step)
                    self._booked = False
                await bench.sleep(pause)

    def _declared_too_low(self, code: str) -> str:
        """What mends a declared need that was too little, which no measurement corrects; nothing where none was declared."""
        model = self._bench.places.models.get(self._step.model)
        if code != OUT_OF_MEMORY or self._step.action not in LOADS or model is None or model.vram is None:
            return ""
        return f"; its declared vram: of {format_bytes(model.vram)} counts before all that is measured: raise it, or take it out"

    async def _learned(self, code: str) -> str:
        """Corrects the measured need of a model that ran out of memory; a clause that says so, or nothing."""
        bench, step = self._bench, self._step
        model = bench.places.models.get(step.model)
        if model is None or model.vram is not None:
            return ""
        need = bench.remedies.corrected_need(step, code)
        if need is None:
            return ""
        now = await bench.engines(self._at).observe((step.engine_name, step.base_name))
        key = bench.places.measured_key(step.model, step.engine_name, now, bench.state.applied())
        if key is None:
            return ""
        bench.state.learn((Learned(key, Measured(card_bytes=need)),))
        return f"; it is reckoned with {format_bytes(need)} from now on"

    def _work(self) -> Work:
        bench, step = self._bench, self._step
        spec = bench.places.engines.get(self._at)
        if spec is None:
            raise Skip("unknown_engine", f"{self._at} is not in the inventory")
        bench.touched.add(self._at)
        engine = bench.engines(self._at)
        self._watch = Watch(engine, (step.engine_name, step.base_name), bench.options, bench.clock, bench.sleep)
        model = bench.places.models.get(step.model)
        return Work(
            step=step,
            engine=engine,
            watch=self._watch,
            model=model,
            asked=asked_of(model, spec.kind, step.engine_name, bench.places.has_cards(self._at)) if model is not None else None,
            begin=self._begin,
            told=self._told,
            room=self._room,
            options=bench.options,
        )

    def _begin(self) -> None:
        bench, step = self._bench, self._step
        if not self._began:
            if step.action is Action.PULL and step.engine_name != step.base_name:
                bench.state.own_tag(self._at, step.engine_name, step.base_name)
            bench.state.step_started(bench.run_id, step.id, step.address, step.action.value)
            self._began = True
            bench.listen(StepStarted(step))
        if not self._booked:
            self._book()

    def _book(self) -> None:
        self._bench.ledger.book(self._step)
        self._booked = True

    def _told(self, progress: PullProgress) -> None:
        self._bench.listen(StepProgress(self._step, progress.status, progress.completed, progress.total))

    def _room(self, facts: EngineFacts) -> str | None:
        bench, step = self._bench, self._step
        lacking = bench.ledger.lacking(step, newcomer_bytes(facts, bench.reckoned.get(self._at, frozenset())))
        if lacking is not None:
            return lacking
        cards = [card for card in bench.plan.gpus if card.node == step.node]
        return refusing(step, bench.places.models.get(step.model), bench.places.engines[self._at], cards, facts)

    def _keep(self, effect: Effect) -> None:
        """Records at once what the step brought about, so that a crash after it loses nothing."""
        bench, step = self._bench, self._step
        model = bench.places.models.get(step.model)
        if step.action is Action.UNLOAD:
            bench.ledger.give_back(step)
            bench.unloaded.add(step.address)
            if step.address not in bench.plan.placed:
                bench.state.record((), (step.address,))
        elif step.action is Action.REMOVE:
            bench.state.record((), (step.address,))
            bench.state.forget_tags(self._at, names_to_delete(step))
        elif step.action is Action.PULL and model is not None and model.ensure is Ensure.PRESENT:
            bench.state.record((replica_row(model, self._at, step.address, step.engine_name, None),))
        elif step.action in _LEAVES_RESIDENT and model is not None and effect.resident is not None:
            if not self._booked:
                self._book()
            bench.ledger.shrink(step)
            charges = bench.plan.charges.get(step.address)
            row = replica_row(model, self._at, step.address, step.engine_name, effect.resident, step.vram_bytes, charges)
            bench.state.record((row,))
            if effect.load_seconds is not None:
                kind = bench.places.engines[self._at].kind
                key = LoadKey(kind, step.engine_name, model.context)
                bench.state.measure((Measurement(key, round(effect.load_seconds, 3)),))

    def _note_evictions(self) -> None:
        if self._began and self._watch is not None and self._step.action in (Action.LOAD, Action.RELOAD):
            self._bench.evictions.note(self._at, self._watch.first, self._watch.last)

    def _note_incident(self) -> None:
        """A reload that was sent to mend something: where it is wrong again soon, it is held. Noted when it is over, so a run that is
        killed before may reload once more; noted before, it would be held for a reload that never was."""
        step, model = self._step, self._bench.places.models.get(self._step.model)
        code, repairs = step.reason.code, step.cause is not Cause.PENDING or step.reason.code == "cpu_fallback"
        if self._began and model is not None and repairs and code in RELOADS:
            self._bench.state.befell(step.address, code, asked_digest(model))

    def _finish(self, result: StepResult) -> None:
        if self._began:
            self._bench.state.step_finished(self._bench.run_id, result.step_id, result.status, result.reason)
        else:
            self._bench.journal(result)

    def _result(self, status: StepStatus, code: str | None = None, message: str | None = None) -> StepResult:
        step = self._step
        return StepResult(step.id, step.address, step.action, status, code, message, seconds=self._bench.clock() - self._started)
