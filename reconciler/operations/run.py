"""Carries a plan out under the state's lease, heeding ^C: once lets the steps that run settle, twice cuts them; both tell what was done."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from math import ceil
from typing import TYPE_CHECKING

from reconciler.cli.progress import listener
from reconciler.cli.settings import Settings
from reconciler.engines import Engine, Transport, open_engine, remembered
from reconciler.execution import (
    Event,
    ExecutionOptions,
    Outcome,
    StepDone,
    StepFailed,
    StepInterrupted,
    StepSkipped,
    StopSignal,
    execute,
    looked_at,
)
from reconciler.fleet import Applied, CardFacts, EngineId, GpurecError, StalePlan
from reconciler.operations.observation import Look, now
from reconciler.operations.replan import plan_corrected
from reconciler.operations.workspace import may_make_folder
from reconciler.planning import Step
from reconciler.probes import is_probed, probe_fleet
from reconciler.state import StateWriter, open_writer
from reconciler.views import Lost, StepResult, escape

if TYPE_CHECKING:
    from reconciler.operations.apply import ApplyOptions


@dataclass(frozen=True, slots=True)
class Carried:
    """What came of a plan. `serial` None: nothing was recorded."""

    results: tuple[StepResult, ...] = ()
    serial: int | None = None
    interrupted: bool = False
    lost: tuple[Lost, ...] = ()


def carry_out(settings: Settings, look: Look, options: ApplyOptions) -> Carried:
    """Does the steps of the look's plan and records them; an empty plan still records what was observed, where there is a state or
    something to own.

    Raises LockHeld, StateError, and StalePlan when another run changed the state since the look.
    """
    plan = look.plan
    if plan.empty and look.applied.lineage is None and not plan.placed:
        return Carried()
    how = replace(
        execution_options(options, len(plan.steps)),
        poll_seconds=settings.poll_seconds,
        drain_seconds=look.workspace.desired.policy.drain,
        force=options.force,
    )
    with open_writer(
        look.state,
        command=options.command,
        fleet=look.workspace.name,
        new_folder=may_make_folder(settings, look.state),
        lock_timeout=options.lock_timeout,
    ) as state:
        if state.took_over:
            settings.say(f"Warning: {escape(state.took_over, 2000)}")
        for notice in state.notices:
            settings.say(f"Note: {escape(notice, 2000)}")
        for warning in state.warnings:
            settings.say(f"Warning: {escape(warning, 1000)}")
        check_unmoved(look.applied, state.applied())
        run_id = state.begin_run(plan.digest, plan.config_digest, options.command)
        result, endings = "failed", Endings()
        try:
            outcome = _run(settings, look, how, state, run_id, endings)
            again = plan_corrected(settings, look, outcome, state)
            if again is not None:
                outcome = outcome.followed_by(_run(settings, again, how, state, run_id, endings))
            result = "partial" if outcome.result == "done" and plan.held else outcome.result
        except (KeyboardInterrupt, asyncio.CancelledError):
            outcome, result = None, "interrupted"
        finally:
            unplaced = sum(one.count for one in plan.unplaced if not one.best_effort)
            serial = state.finish_run(run_id, result, unplaced=unplaced, deferred=len(plan.deferred))
    if outcome is None:
        return Carried(endings.results(plan.steps), serial, interrupted=True)
    results = tuple(StepResult(one.address, one.action.value, one.status.value, one.message or one.reason) for one in outcome.results)
    lost = tuple(Lost(one.address, one.message, one.ours) for one in outcome.lost)
    return Carried(results, serial, outcome.interrupted, lost)


class Endings:
    """Listens how steps end, so that a run that is cut short, and has no outcome, can still say what it did."""

    def __init__(self) -> None:
        self._ended: dict[str, tuple[str, str | None]] = {}

    def hear(self, event: Event) -> None:
        match event:
            case StepDone(step=step, satisfied=satisfied):
                self._ended[step.id] = ("satisfied" if satisfied else "done", None)
            case StepFailed(step=step, message=message):
                self._ended[step.id] = ("failed", message)
            case StepSkipped(step=step, message=message):
                self._ended[step.id] = ("skipped", message)
            case StepInterrupted(step=step):
                self._ended[step.id] = ("interrupted", "cut while it ran; the next plan finds out what became of it")
            case _:
                return

    def results(self, steps: Sequence[Step]) -> tuple[StepResult, ...]:
        """How every step ended, in the plan's order; one that was not heard of was not begun."""
        not_begun = ("skipped", "the run was cut before it began")
        return tuple(StepResult(step.address, step.action.value, *self._ended.get(step.id, not_begun)) for step in steps)


def check_unmoved(seen: Applied, held: Applied) -> None:
    """Refuses to go on when the state is not the one that the plan was made with; a state made just now counts as the same."""
    if (seen.serial, seen.replicas) != (held.serial, held.replicas) or (seen.lineage is not None and seen.lineage != held.lineage):
        raise StalePlan.of("another run changed the state since the plan was made", None, "plan again")


def execution_options(options: ApplyOptions, steps: int) -> ExecutionOptions:
    """`max_fail` of `N` or `P%` (rounded up) as a number of steps; GpurecError when it is neither."""
    most = None
    if options.max_fail is not None:
        text = options.max_fail.strip()
        number = text.removesuffix("%")
        if not number.isascii() or not number.isdigit() or len(number) > 9:
            raise GpurecError.of(f"{options.max_fail!r} is no number of steps", "--max-fail", "write 3 or 10%")
        most = ceil(int(number) * steps / 100) if text.endswith("%") else int(number)
    return ExecutionOptions(parallelism=options.parallelism, keep_going=options.keep_going, max_fail=most)


def _run(settings: Settings, look: Look, how: ExecutionOptions, state: StateWriter, run_id: int, endings: Endings) -> Outcome:
    health = look.workspace.desired.policy.health
    specs = {engine.id: engine for node in look.workspace.fleet.nodes.values() for engine in node.engines}

    async def run() -> Outcome:
        stop = StopSignal()
        opened: dict[EngineId, Engine] = {}
        async with Transport(known=remembered(look.facts)) as transport:

            def engine(at: EngineId) -> Engine:
                if at not in opened:
                    opened[at] = open_engine(looked_at(specs[at], health), transport)
                return opened[at]

            async def cards(nodes: Collection[str]) -> Mapping[str, Sequence[CardFacts]]:
                asked = [name for name in nodes if is_probed(look.workspace.fleet.nodes[name])]
                seen = await probe_fleet(look.workspace.fleet, {}, transport=transport, at=now(), only=asked)
                return {name: node.cards or () for name, node in seen.nodes.items()}

            with listener(settings) as show:

                def listen(event: Event) -> None:
                    endings.hear(event)
                    show(event)

                _heed_interrupts(settings, stop)
                try:
                    return await execute(
                        look.plan,
                        look.workspace.fleet,
                        look.workspace.desired,
                        facts=look.facts,
                        engines=engine,
                        state=state,
                        run_id=run_id,
                        options=how,
                        listen=listen,
                        stop=stop,
                        cards=cards,
                    )
                finally:
                    for one in opened.values():
                        await one.aclose()

    return asyncio.run(run())


def _heed_interrupts(settings: Settings, stop: StopSignal) -> None:
    task = asyncio.current_task()
    cut = False

    def interrupted() -> None:
        nonlocal cut
        if stop.requested and task is not None:
            if not cut:  # once: a second cancel would tear the clearing up, and with it the record of what was cut
                cut = True
                settings.say("Cutting the steps that run.")
                task.cancel()
            return
        stop.request_stop()
        settings.say("Stopping: no more steps begin, those that run are waited for. ^C again cuts them.")

    _on_signal(signal.SIGINT, interrupted)
    _on_signal(signal.SIGTERM, interrupted)


def _on_signal(number: signal.Signals, act: Callable[[], None]) -> None:
    """In a thread other than the main one, and on Windows, signals cannot be heeded; the run goes on without."""
    with suppress(NotImplementedError, RuntimeError, ValueError):
        asyncio.get_running_loop().add_signal_handler(number, act)
