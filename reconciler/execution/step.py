"""One step from its first look to its place in the state: look, journal, act, wait, record; the same for every kind of resource."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace

from reconciler.execution.actor import Actor, Clock, Skip, Sleep, code_of
from reconciler.execution.events import Event, StepDone, StepFailed, StepRetried, StepSkipped, StepStarted
from reconciler.execution.outcome import StepResult, StopSignal
from reconciler.fleet import GpurecError, StateError
from reconciler.planning import Step
from reconciler.state import SettledStep, StateWriter, StepStatus


@dataclass(slots=True)
class Run:
    """What the steps of one run share, whatever their kind."""

    id: int
    state: StateWriter
    clock: Clock
    sleep: Sleep
    listen: Callable[[Event], None]
    stop: StopSignal

    def journal(self, *results: StepResult) -> None:
        """Writes how steps ended that had not begun, in one transaction."""
        self.state.steps_settled(
            self.id, [SettledStep(one.step_id, one.address, one.action.value, one.status, one.reason) for one in results]
        )


class StepRun:
    """One step being carried out by the actor of its kind."""

    def __init__(self, run: Run, step: Step, actor: Actor) -> None:
        self._run, self._step, self._actor = run, step, actor
        self._began = False
        self._started = run.clock()

    async def go(self) -> StepResult:
        """Says how it ended. Only the state's own errors (and being cancelled) come out as exceptions."""
        run, step = self._run, self._step
        try:
            satisfied = await self._tried()
        except Skip as skip:
            result = self._result(StepStatus.SKIPPED, skip.code, skip.message)
            run.listen(StepSkipped(step, skip.code, skip.message))
            self._finish(result)
            return result
        except StateError:
            raise
        except GpurecError as error:
            failure, code = await self._actor.failed(error), code_of(error)
            message = str(error) + failure.more
            result = replace(self._result(StepStatus.FAILED, code, message), corrected=failure.corrected)
            self._finish(result)
            run.listen(StepFailed(step, code, message, result.seconds))
            return result
        except asyncio.CancelledError:
            if self._began:
                run.state.step_finished(run.id, step.id, StepStatus.INTERRUPTED, "interrupted: cut short while it ran")
            else:
                run.journal(self._result(StepStatus.INTERRUPTED, "interrupted", "cut short before anything was sent"))
            raise
        self._actor.keep()
        result = self._result(StepStatus.SATISFIED if satisfied else StepStatus.DONE)
        self._finish(result)
        run.listen(StepDone(step, result.seconds, satisfied))
        return result

    async def _tried(self) -> bool:
        """Whether it was so already; else carries it out. What failed, and may not fail again, is tried again after a pause, unless the run
        is to stop."""
        run, step, actor, tries = self._run, self._step, self._actor, 0
        failure: GpurecError | None = None
        while True:
            try:
                if await actor.look():
                    return True
                self._begin()
                await actor.act()
                await actor.wait()
                return False
            except Skip:
                if failure is None:
                    raise
                actor.given_up(failure)
                raise failure from None
            except StateError:
                raise
            except GpurecError as error:
                pause = None if run.stop.requested else actor.pause(error, tries)
                if pause is None:
                    raise
                failure, tries = error, tries + 1
                run.listen(StepRetried(step, code_of(error), str(error), pause, tries))
            finally:
                await actor.close()
            await run.sleep(pause)

    def _begin(self) -> None:
        run, step = self._run, self._step
        self._actor.begin()
        if not self._began:
            run.state.step_started(run.id, step.id, step.address, step.action.value)
            self._began = True
            run.listen(StepStarted(step))

    def _finish(self, result: StepResult) -> None:
        if self._began:
            self._run.state.step_finished(self._run.id, result.step_id, result.status, result.reason)
        else:
            self._run.journal(result)

    def _result(self, status: StepStatus, code: str | None = None, message: str | None = None) -> StepResult:
        step = self._step
        return StepResult(step.id, step.address, step.action, status, code, message, seconds=self._run.clock() - self._started)
