"""Carries out the steps of models: what an engine is asked and sent, what its cards are charged with, and what is kept of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, field

from reconciler.engines.protocol import Engine, PullProgress
from reconciler.execution.actor import Failure, Progress, Skip, code_of
from reconciler.execution.kinds.model.acts import ACTS, Act, Work, names_to_delete
from reconciler.execution.kinds.model.admission import refusing
from reconciler.execution.kinds.model.card_limits import Levels
from reconciler.execution.kinds.model.evictions import Evictions
from reconciler.execution.kinds.model.recording import ReplicaPlaces, charged, replica_row, was_unloaded
from reconciler.execution.kinds.model.unplanned_residents import newcomer_bytes
from reconciler.execution.kinds.model.waits import EngineWatch
from reconciler.execution.ledger import Ledger
from reconciler.execution.outcome import ExecutionOptions
from reconciler.execution.remedies import LOADS, OUT_OF_MEMORY, Remedies
from reconciler.execution.step import Run
from reconciler.fleet import AppliedReplica, EngineFacts, EngineId, Ensure, GpurecError, LoadKey, Measured, format_bytes
from reconciler.fleet.matching import wanted_resident
from reconciler.planning import FETCHES, RELOADS, Action, Cause, ModelStep, Plan, asked_digest
from reconciler.state import Learned, Measurement

_NOTHING_LEFT_BEHIND = frozenset({"load_failed", "not_resident", "out_of_memory", "not_installed", "verify_failed"})
"""Failures of a load after which the card holds no more than before; after any other it may."""
_LEAVES_RESIDENT = frozenset({Action.LOAD, Action.RELOAD, Action.UPDATE, Action.WAIT})


@dataclass(slots=True)
class ModelRun:
    """What the steps of models share in one run. `rows` is the state of before it."""

    run: Run
    plan: Plan
    places: ReplicaPlaces
    engines: Callable[[EngineId], Engine]
    options: ExecutionOptions
    ledger: Ledger
    reckoned: Mapping[EngineId, Set[str]]
    remedies: Remedies
    levels: Levels
    evictions: Evictions
    rows: Mapping[str, AppliedReplica]
    touched: set[EngineId] = field(default_factory=set)
    unloaded: set[str] = field(default_factory=set)


class ModelActor:
    """One step of a model."""

    def __init__(self, models: ModelRun, step: ModelStep, progress: Progress) -> None:
        self._models, self._step, self._progress = models, step, progress
        self._booked = self._began = False
        self._watch: EngineWatch | None = None
        self._act: Act | None = None

    async def look(self) -> bool:
        models, step = self._models, self._step
        if (held := await models.levels.holds(step)) is not None:
            raise Skip(*held)
        act = ACTS.get(step.action)
        if act is None:
            raise Skip("not_supported", f"{step.action.value} of {step.address} is nothing that is done to a model")
        work = self._work()
        self._act = act(work)
        return await self._act.look(await work.watch.look_until_seen())

    def begin(self) -> None:
        step = self._step
        if not self._began and step.action is Action.TAG:
            self._models.run.state.own_tag(step.at, step.engine_name, step.base_name)
        self._began = True
        if not self._booked:
            self._book()

    async def act(self) -> None:
        await self._acting.act()

    async def wait(self) -> None:
        await self._acting.wait()

    async def close(self) -> None:
        if self._act is not None:
            await self._act.close()

    def keep(self) -> None:
        models, step, act = self._models, self._step, self._acting
        state, model = models.run.state, models.places.models.get(self._step.model)
        if step.action is Action.UNLOAD:
            models.ledger.give_back(step)
            seen = self._watch.last if self._watch is not None else None
            if was_unloaded(models.rows.get(step.address), step.engine_name, seen):
                models.unloaded.add(step.address)
                if step.address not in models.plan.placed:
                    state.record((), (step.address,))
        elif step.action is Action.REMOVE:
            state.record((), (step.address,))
            state.forget_tags(step.at, names_to_delete(step))
        elif step.action in FETCHES and model is not None and model.ensure is Ensure.PRESENT:
            if step.engine_name != model.engine_name(models.places.engines[step.at].kind):
                return  # the tag that is made of it is what counts
            state.record((replica_row(model, step.at, step.address, step.engine_name, None),))
        elif step.action in _LEAVES_RESIDENT and model is not None and act.resident is not None:
            if not self._booked:
                self._book()
            models.ledger.shrink(step)
            charges = charged(models.plan, step.address, models.rows.get(step.address))
            state.record((replica_row(model, step.at, step.address, step.engine_name, act.resident, step.vram_bytes, charges),))
            if act.load_seconds is not None:
                key = LoadKey(models.places.engines[step.at].kind, step.engine_name, model.context)
                state.measure((Measurement(key, round(act.load_seconds, 3)),))
        self._note()

    async def failed(self, error: GpurecError) -> Failure:
        code = code_of(error)
        self._note()
        if self._booked and self._step.action is Action.LOAD and code in _NOTHING_LEFT_BEHIND:
            self._models.ledger.give_back(self._step)
        learned = await self._learned(code)
        return Failure(learned or self._declared_too_low(code), bool(learned))

    def pause(self, error: GpurecError, tries: int) -> float | None:
        pause = self._models.remedies.pause(self._step, code_of(error), tries)
        if pause is not None and self._booked:  # the next try books it again
            self._models.ledger.give_back(self._step)
            self._booked = False
        return pause

    def given_up(self, error: GpurecError) -> None:
        if not self._booked and code_of(error) not in _NOTHING_LEFT_BEHIND:
            self._book()

    @property
    def _acting(self) -> Act:
        assert self._act is not None
        return self._act

    def _book(self) -> None:
        self._models.ledger.book(self._step)
        self._booked = True

    def _work(self) -> Work:
        models, step = self._models, self._step
        spec = models.places.engines.get(step.at)
        if spec is None:
            raise Skip("unknown_engine", f"{step.at} is not in the inventory")
        models.touched.add(step.at)
        engine, run = models.engines(step.at), models.run
        self._watch = EngineWatch(engine, (step.engine_name, step.base_name), models.options, run.clock, run.sleep)
        model = models.places.models.get(step.model)
        asked = wanted_resident(model, spec.kind, step.engine_name, models.places.has_cards(step.at)) if model is not None else None
        disk, others = models.places.disk_of(step.at)
        beside = tuple(models.engines(at) for at in others)
        return Work(step, engine, self._watch, model, asked, self._on_progress, self._room, disk, beside, models.options)

    def _on_progress(self, progress: PullProgress) -> None:
        self._progress(progress.status, progress.completed, progress.total)

    def _room(self, facts: EngineFacts) -> str | None:
        models, step = self._models, self._step
        lacking = models.ledger.lacking(step, newcomer_bytes(facts, models.reckoned.get(step.at, frozenset())))
        if lacking is not None:
            return lacking
        cards = [card for card in models.plan.gpus if card.node == step.node]
        return refusing(step, models.places.models.get(step.model), models.places.engines[step.at], cards, facts)

    def _declared_too_low(self, code: str) -> str:
        """What mends a declared need that was too little, which no measurement corrects; nothing where none was declared."""
        model = self._models.places.models.get(self._step.model)
        if code != OUT_OF_MEMORY or self._step.action not in LOADS or model is None or model.vram is None:
            return ""
        return f"; its declared vram: of {format_bytes(model.vram)} counts before all that is measured: raise it, or take it out"

    async def _learned(self, code: str) -> str:
        """Corrects the measured need of a model that ran out of memory; a clause that says so, or nothing."""
        models, step = self._models, self._step
        model = models.places.models.get(step.model)
        if model is None or model.vram is not None:
            return ""
        need = models.remedies.corrected_need(step, code)
        if need is None:
            return ""
        now = await models.engines(step.at).observe((step.engine_name, step.base_name))
        key = models.places.measured_key(step.model, step.engine_name, now, models.run.state.applied())
        if key is None:
            return ""
        models.run.state.learn((Learned(key, Measured(card_bytes=need)),))
        return f"; later plans assume {format_bytes(need)}"

    def _note(self) -> None:
        """Whom the engine evicted meanwhile; and of a reload that was sent to mend something that it was: where it is wrong again soon, it
        is held. Noted when it is over, so a run that is killed before may reload once more; noted before, it would be held for a reload
        that never was."""
        models, step = self._models, self._step
        if not self._began or self._watch is None:
            return
        if step.action in LOADS:
            models.evictions.note(step.at, self._watch.first, self._watch.last)
        model = models.places.models.get(step.model)
        code, repairs = step.reason.code, step.cause is not Cause.PENDING or step.reason.code == "cpu_fallback"
        if model is not None and repairs and code in RELOADS:
            models.run.state.record_incident(step.address, code, asked_digest(model))
