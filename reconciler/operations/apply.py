"""Apply: what is to be carried out, from the files of now or from a saved plan, with every check that comes before the approval."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence, Set
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from reconciler.fleet import LockHeld, ReplicaChange, StalePlan
from reconciler.operations.exit_status import Command, check_all
from reconciler.operations.lock_wait import once_free
from reconciler.operations.observation import PlanOptions
from reconciler.operations.plan_file import read_plan
from reconciler.operations.proposal import Proposal, plan_fleet, rolled_back, selected_nodes
from reconciler.operations.recovery import take_in_rescues
from reconciler.operations.reporter import Reporter, ignore
from reconciler.operations.run import ApplyOptions
from reconciler.operations.saved_plan_checks import (
    UNLIKE_ASSUMED,
    check_begun,
    check_expected,
    check_guards,
    check_not_stale,
    check_origin,
    check_same,
)
from reconciler.operations.settings import WorkspaceSettings
from reconciler.operations.state_warnings import warn_of_state
from reconciler.operations.workspace import load, may_make_folder, state_of
from reconciler.planning import Plan, SinceApproval
from reconciler.state import StateReader, StepStatus, Store, refuse_if_locked, refuse_unsafe
from reconciler.workspace import Workspace, with_allocated

_DONE = frozenset({StepStatus.DONE, StepStatus.SATISFIED})
_UNFINISHED = frozenset({StepStatus.STARTED, StepStatus.FAILED, StepStatus.INTERRUPTED})
MOST_RUNS = 1000
"""How far back the history of a state is looked through for a plan that is resumed."""


async def plan_to_apply(
    settings: WorkspaceSettings,
    choice: PlanOptions,
    options: ApplyOptions,
    report: Reporter = ignore,
    *,
    workspace: Workspace | None = None,
) -> tuple[Proposal, ApplyOptions]:
    """A fresh plan (of `workspace`, where that is read already), once no other run holds the state, and the options with what is left of
    the lock timeout. It is to be shown; then `check_guards` says whether the policy lets it through.

    Raises as `plan_fleet` does, LockHeld, and StalePlan where it is not the expected plan.
    """
    space = workspace or await load(settings, report)

    async def propose() -> Proposal:
        return await plan_fleet(settings, choice, report, workspace=space)

    proposal, options = await _once_free(settings, state_of(settings, space), options, report, propose)
    try:
        check_expected(proposal.plan, options.expect_digest)
    except StalePlan:
        check_guards(proposal.plan)  # a refusal is said before that
        raise
    return proposal, options


async def confirm_assumed(settings: WorkspaceSettings, shown: Proposal, choice: PlanOptions, report: Reporter = ignore) -> Proposal:
    """The same plan from facts probed now, where the one that was shown and approved is from assumed or recorded ones.

    So what is assumed is never acted on unseen, nor recorded as if it had been seen. Raises StalePlan when the plan of now is another one.
    """
    if shown.fresh:
        return shown
    probed = replace(choice, refresh=True, assume=None)
    now = await plan_fleet(settings, probed, report, workspace=shown.workspace)
    check_same(shown.plan, now.plan, UNLIKE_ASSUMED)
    return now


async def check_saved_plan(
    settings: WorkspaceSettings, path: Path, options: ApplyOptions, report: Reporter = ignore
) -> tuple[Proposal, ApplyOptions]:
    """What is to be carried out of a saved plan, once no other run holds the state: all of it, where no step of it is stale; and
    the options with what is left of the lock timeout.

    What is satisfied already counts as done, so the same file goes on where an earlier run of it stopped. Raises GuardRefused, StalePlan or
    LockHeld, with nothing done and no state made.
    """
    saved = read_plan(path)
    check_all(Command.APPLY, lambda: check_guards(saved), lambda: check_expected(saved, options.expect_digest))
    workspace = await load(settings, report)

    async def check() -> Proposal:
        return await _check_saved(settings, workspace, saved, options, report)

    return await _once_free(settings, state_of(settings, workspace), options, report, check)


async def _check_saved(settings: WorkspaceSettings, workspace: Workspace, saved: Plan, options: ApplyOptions, report: Reporter) -> Proposal:
    with closing(state_of(settings, workspace).reader()) as state:
        if saved.rollback is not None:
            workspace, _ = rolled_back(workspace, state, saved.rollback)
        runs = state.runs(last=MOST_RUNS, of_plans=True)
        history = {run.plan_digest for run in runs}
        ended = _endings_of(state, [run.id for run in runs if run.plan_digest == saved.digest])
        begun = {step for step, status in ended.items() if status in _DONE}
        since = _since_approval(state, saved, {step for step, status in ended.items() if status in _UNFINISHED})
        wanted, _ = with_allocated(workspace, state.allocated())
        check_origin(saved, workspace.name, wanted.config_digest, state.applied(), history)
    if options.resume:
        check_begun(saved, history)
    choice = PlanOptions(saved.limit, saved.exclude, again=frozenset(saved.replace), solver=saved.placement.solver)
    proposal = await plan_fleet(settings, choice, report, workspace=workspace)
    warn_of_state(proposal, report)
    approved = check_not_stale(saved, proposal, selected_nodes(workspace, choice), since)
    check_guards(approved)
    return replace(proposal, plan=without_done_again(approved, begun))


def _endings_of(state: StateReader, runs: Sequence[int]) -> Mapping[str, StepStatus]:
    """How each step ended last in `runs` (newest first) of one plan, where it was begun in one of them."""
    ended: dict[str, StepStatus] = {}
    for run in runs:
        for row in state.journal(run):
            if row.status in _DONE or row.status in _UNFINISHED:
                ended.setdefault(row.step_id, row.status)
    return ended


def _since_approval(state: StateReader, saved: Plan, unfinished: Set[str]) -> SinceApproval:
    changes: dict[str, list[ReplicaChange]] = defaultdict(list)
    for change in state.changed_since(saved.serial, {step.address for step in saved.steps}):
        changes[change.address].append(change)
    return SinceApproval(changes, unfinished)


def without_done_again(plan: Plan, done: Set[str]) -> Plan:
    """Without the reloads that only `--replace` asked for and that an earlier run of this plan has done: nothing on the engine tells."""
    gone = {step.id for step in plan.steps if step.reason.code == "asked_again" and step.id in done}
    steps = tuple(replace(step, needs=tuple(set(step.needs) - gone)) for step in plan.steps if step.id not in gone)
    return replace(plan, steps=steps) if gone else plan


async def _once_free(
    settings: WorkspaceSettings, store: Store, options: ApplyOptions, report: Reporter, propose: Callable[[], Awaitable[Proposal]]
) -> tuple[Proposal, ApplyOptions]:
    """Waits for the run that holds the state, and takes in what an earlier one could not write, so that the plan is made with all of it.

    Where the lock is not to be had, what would be said of the plan itself goes before that.
    """
    if not may_make_folder(settings, store):
        store.check_place()
    if not settings.allow_unsafe_state and store.file is not None:
        refuse_unsafe(store.file)
    try:
        _, left = await once_free(lambda: refuse_if_locked(store), options.lock_timeout, report)
        take_in_rescues(store, left, report=report)
    except LockHeld:
        plan = (await propose()).plan
        check_all(Command.APPLY, lambda: check_guards(plan), lambda: check_expected(plan, options.expect_digest))
        raise
    return await propose(), replace(options, lock_timeout=left)
