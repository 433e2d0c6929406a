"""Carry a plan out under the state's lease. It may be asked to stop, which lets running steps finish, or be cancelled, which cuts them; the
result says in both cases what was done."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from math import ceil

from reconciler.engines import Engine, Transport, open_engine, remembered
from reconciler.execution import Event, ExecutionOptions, Outcome, StopSignal, execute, looked_at
from reconciler.execution.resource import ActorContext
from reconciler.fleet import Applied, CardFacts, EngineId, StalePlan
from reconciler.operations import clock
from reconciler.operations.apply_result import ApplyResult, StepEndings
from reconciler.operations.exit_status import unplaced
from reconciler.operations.lock_wait import once_free
from reconciler.operations.proposal import Proposal
from reconciler.operations.replan import plan_corrected
from reconciler.operations.reporter import Reporter, StateNotice, StateWarning, ignore
from reconciler.operations.settings import WorkspaceSettings
from reconciler.operations.workspace import may_make_folder
from reconciler.probes import is_probed, probe_fleet
from reconciler.state import StateWriter
from reconciler.value_class import value_class
from reconciler.workspace import inventory_name


@value_class
class FailureLimit:
    """So many failed steps are put up with, or so large a percentage of all steps, rounded up."""

    number: int
    percent: bool = False

    def steps(self, of: int) -> int:
        return ceil(self.number * of / 100) if self.percent else self.number


@value_class
class ApplyOptions:
    """How to carry out. `parallelism`: steps at once over the fleet; `lock_timeout` in seconds; `expect_digest` is the digest of the only
    plan that may be carried out; `resume` asks that the plan has been begun here before; `force` unloads busy models too; `command` is what
    history and the lock say of the run."""

    parallelism: int = 10
    keep_going: bool = False
    max_fail: FailureLimit | None = None
    lock_timeout: float = 0.0
    expect_digest: str | None = None
    resume: bool = False
    command: str = "apply"
    force: bool = False


async def carry_out(
    settings: WorkspaceSettings,
    proposal: Proposal,
    options: ApplyOptions,
    report: Reporter = ignore,
    stop: StopSignal | None = None,
) -> ApplyResult:
    """Does the steps of the proposal and records them; an empty plan still records what was observed, where there is a state or something
    to own. After `stop` no step begins any more. Cancelled, it cuts what runs and still returns what was done.

    Raises LockHeld, StateError, and StalePlan when another run changed the state since the plan was made.
    """
    plan, started = proposal.plan, time.monotonic()
    if plan.empty and proposal.applied.lineage is None and not plan.placed:
        return ApplyResult()
    how = execution_options(settings, proposal, options)
    with ExitStack() as stack:
        fleet, folder = proposal.workspace.name, may_make_folder(settings, proposal.state)

        def take() -> StateWriter:
            return stack.enter_context(proposal.state.writer(command=options.command, fleet=fleet, new_folder=folder))

        state, _ = await once_free(take, options.lock_timeout, report)
        for notice in state.notices:
            report(StateNotice(notice))
        for warning in filter(None, (state.took_over, *state.warnings)):
            report(StateWarning(warning))
        check_unmoved(proposal.applied, state.applied())
        named = inventory_name(settings.directory, settings.inventory)
        run_id = state.begin_run(plan.digest, plan.config_digest, options.command, named)
        outcome: Outcome | None = None
        result, endings, signal = "failed", StepEndings(), stop or StopSignal()

        async def run(part: Proposal) -> Outcome:
            return await _run(settings, part, how, state, run_id, _both(endings, report), signal)

        try:
            done = await run(proposal)
            again = await plan_corrected(settings, proposal, done, state, report)
            if again is not None:
                done = done.followed_by(await run(again))
            outcome, result = done, "partial" if done.result == "done" and plan.held else done.result
        except asyncio.CancelledError:
            result = "interrupted"
        finally:
            serial = state.finish_run(run_id, result, unplaced=unplaced(plan), deferred=len(plan.deferred))
    seconds = time.monotonic() - started
    if outcome is None:
        return ApplyResult(endings.results(plan.steps), serial, interrupted=True, seconds=seconds)
    return ApplyResult(outcome.results, serial, outcome.interrupted, outcome.lost, seconds)


def check_unmoved(seen: Applied, held: Applied) -> None:
    """Refuses to go on when the state is not the one that the plan was made with; a state made just now counts as the same."""
    if (seen.serial, seen.replicas) != (held.serial, held.replicas) or (seen.lineage is not None and seen.lineage != held.lineage):
        raise StalePlan.of("another run changed the state since the plan was made", None, "plan again")


def execution_options(settings: WorkspaceSettings, proposal: Proposal, options: ApplyOptions) -> ExecutionOptions:
    return ExecutionOptions(
        parallelism=options.parallelism,
        keep_going=options.keep_going,
        max_fail=None if options.max_fail is None else options.max_fail.steps(len(proposal.plan.steps)),
        poll_seconds=settings.poll_seconds,
        drain_seconds=proposal.workspace.desired.policy.drain,
        force=options.force,
    )


def _both(endings: StepEndings, report: Reporter) -> Callable[[Event], None]:
    def listen(event: Event) -> None:
        endings.follow(event)
        report(event)

    return listen


async def _run(
    settings: WorkspaceSettings,
    proposal: Proposal,
    how: ExecutionOptions,
    state: StateWriter,
    run_id: int,
    listen: Callable[[Event], None],
    stop: StopSignal,
) -> Outcome:
    fleet, health = proposal.workspace.fleet, proposal.workspace.desired.policy.health
    specs = {engine.id: engine for node in fleet.nodes.values() for engine in node.engines}
    opened: dict[EngineId, Engine] = {}
    async with Transport(known=remembered(proposal.facts)) as transport:
        transport.know(spec.bearer for spec in specs.values())

        def engine(at: EngineId) -> Engine:
            if at not in opened:
                opened[at] = open_engine(looked_at(specs[at], health), transport)
            return opened[at]

        async def cards(nodes: Collection[str]) -> Mapping[str, Sequence[CardFacts]]:
            asked = [name for name in nodes if is_probed(fleet.nodes[name])]
            seen = await probe_fleet(fleet, {}, transport=transport, at=clock.now(), only=asked)
            return {name: node.cards or () for name, node in seen.nodes.items()}

        context = ActorContext(settings.directory, fleet, settings.poll_seconds, proposal.applied)
        actors = {one.kind.name: one.actor(context) for one in settings.types()}
        try:
            return await execute(
                proposal.plan,
                fleet,
                proposal.workspace.desired,
                facts=proposal.facts,
                engines=engine,
                state=state,
                run_id=run_id,
                options=how,
                listen=listen,
                stop=stop,
                cards=cards,
                actors=actors,
            )
        finally:
            for one in opened.values():
                await one.aclose()
            for actor in actors.values():
                await actor.aclose()
