"""From a choice or a saved plan to what was done, and the exit status that says so."""

from __future__ import annotations

import shlex
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence, Set
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import click

from reconciler.cli.approval import approve
from reconciler.cli.options import print_warnings, probing_line
from reconciler.cli.settings import Settings
from reconciler.fleet import ReplicaChange, format_duration
from reconciler.operations.observation import Choice, Look, look_again, rolled_back, selected_nodes, uncollected
from reconciler.operations.plan_file import read_plan
from reconciler.operations.recovery import take_in_waiting
from reconciler.operations.run import Carried, carry_out
from reconciler.operations.saved_plan_checks import (
    UNLIKE_ASSUMED,
    check_begun,
    check_expected,
    check_guards,
    check_origin,
    check_same,
    check_standing,
)
from reconciler.operations.state_warnings import tell_of_state
from reconciler.operations.workspace import may_make_folder, open_workspace, state_path
from reconciler.planning import Plan, SinceApproval
from reconciler.state import StateReader, StepStatus, open_reader, require_folder, wait_until_free
from reconciler.views import Held, escape, outcome_text, plan_text

_DONE = frozenset({StepStatus.DONE, StepStatus.SATISFIED})
_UNFINISHED = frozenset({StepStatus.STARTED, StepStatus.FAILED, StepStatus.INTERRUPTED})
FAILED, UNREACHABLE, INTERRUPTED = 3, 4, 130
MOST_RUNS = 1000
"""How far back the history of a state is looked through for a plan that is resumed."""


@dataclass(frozen=True, slots=True)
class ApplyOptions:
    """How to carry out. `max_fail` is `N` or `P%`; `lock_timeout` seconds; `terminal` says that there is somebody to ask;
    `expect_digest` is the digest of the only plan that may be carried out; `resume` asks that the plan has been begun here before.
    `force` unloads busy models too; `command` is what history and the lock say of the run."""

    parallelism: int = 10
    keep_going: bool = False
    max_fail: str | None = None
    lock_timeout: float = 0.0
    auto_approve: bool = False
    terminal: bool = False
    expect_digest: str | None = None
    resume: bool = False
    command: str = "apply"
    force: bool = False


def apply_fresh(settings: Settings, choice: Choice, options: ApplyOptions) -> int:
    """Plans, shows, asks, carries out; the exit status. Without a yes nothing is done and no state is made.

    A plan from assumed or recorded facts is treated as a saved one: before anything is done the fleet is probed, and StalePlan (6) raised
    when the plan of now is another one. So what is assumed is never acted on unseen, nor recorded as if it had been seen.
    """
    with uncollected():
        workspace = open_workspace(settings)
        options = ready_state(settings, state_path(settings, workspace), options)
        with probing_line(settings) as on_node:
            look = look_again(workspace, settings, choice, on_node=on_node)
    print_warnings(settings, workspace.warnings)
    check_expected(look.plan, options.expect_digest)
    click.echo(plan_text(look.plan, colour=settings.colour(), width=settings.width()), nl=False)
    tell_of_state(settings, look)
    check_guards(look.plan)
    if not look.plan.empty and not approve(auto_approve=options.auto_approve, terminal=options.terminal):
        settings.say("Nothing was applied.")
        return 1
    if not look.fresh:
        shown = look.plan
        with probing_line(settings) as on_node:
            look = look_again(look.workspace, settings, Choice(choice.limit, choice.exclude, again=choice.again), on_node=on_node)
        check_same(shown, look.plan, UNLIKE_ASSUMED)
    return _finish(settings, look, options, "gpurec plan shows what is left, gpurec apply does it")


def ready_state(settings: Settings, path: Path, options: ApplyOptions) -> ApplyOptions:
    """Waits for the run that holds the state, and takes in what an earlier one could not write, so that the plan is made with all of it.

    Returns the options with what is left of the lock timeout. Raises LockHeld (5) before any node is asked.
    """

    def told(why: str) -> None:
        settings.say(f"Waiting for the lock, at most {format_duration(options.lock_timeout)}: {escape(why, 1000)}.")

    if not may_make_folder(settings, path):
        require_folder(path)
    left = wait_until_free(path, options.lock_timeout, told)
    take_in_waiting(settings, path, left)
    return replace(options, lock_timeout=left)


def apply_saved(settings: Settings, path: Path, options: ApplyOptions) -> int:
    """Carries out a saved plan where every step of it still stands; StalePlan (6) otherwise, with nothing done and no state made.

    What is satisfied already counts as done, so the same file goes on where an earlier run of it stopped.
    """
    saved = read_plan(path)
    check_expected(saved, options.expect_digest)
    workspace = open_workspace(settings)
    options = ready_state(settings, state_path(settings, workspace), options)
    with closing(open_reader(state_path(settings, workspace))) as state:
        if saved.rollback is not None:
            workspace, _ = rolled_back(workspace, state, saved.rollback)
        runs = state.runs(last=MOST_RUNS)
        history = {run.plan_digest for run in runs}
        ended = _endings_of(state, [run.id for run in runs if run.plan_digest == saved.digest])
        begun = {step for step, status in ended.items() if status in _DONE}
        since = _since_approval(state, saved, {step for step, status in ended.items() if status in _UNFINISHED})
        check_origin(saved, workspace.name, workspace.config_digest, state.applied(), history)
    if options.resume:
        check_begun(saved, history)
    choice = Choice(saved.limit, saved.exclude, again=frozenset(saved.replace))
    with probing_line(settings) as on_node:
        look = look_again(workspace, settings, choice, on_node=on_node)
    tell_of_state(settings, look)
    plan = check_standing(saved, look, selected_nodes(workspace, choice), since)
    check_guards(plan)
    look = replace(look, plan=without_done_again(plan, begun))
    to_go_on = f"to go on where it stopped: gpurec apply {escape(shlex.quote(str(path)))} --resume"
    return _finish(settings, look, options, to_go_on, saved=True)


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


def _finish(settings: Settings, look: Look, options: ApplyOptions, to_go_on: str, *, saved: bool = False) -> int:
    """Carries out and tells what came of it, also of an empty plan that was `saved` and so is not shown here; `to_go_on` is what to do
    after an interruption."""
    started = time.monotonic()
    done = carry_out(settings, look, options)
    text = outcome_text(
        done.results,
        seconds=time.monotonic() - started,
        serial=done.serial,
        unplaced=_unplaced(look.plan),
        deferred=len(look.plan.deferred),
        held=[Held(note.address, note.message) for note in look.plan.held],
        lost=done.lost,
        interrupted=done.interrupted,
        colour=settings.colour(),
        width=settings.width(),
    )
    if saved or done.results or done.lost or look.plan.held or not look.plan.empty:
        click.echo("\n" + text, nl=False)
    if done.interrupted:
        settings.say(f"Interrupted: {to_go_on}.")
    return INTERRUPTED if done.interrupted else exit_status(look.plan, done)


def exit_status(plan: Plan, done: Carried) -> int:
    """3 when a step is not done, or a replica was lost, is held, or (unless best-effort) has no place; else 4 for something unreachable."""
    unfinished = any(result.status not in ("done", "satisfied") for result in done.results)
    if unfinished or any(lost.ours for lost in done.lost) or _unplaced(plan) or plan.held:
        return FAILED
    return UNREACHABLE if plan.deferred else 0


def _unplaced(plan: Plan) -> int:
    return sum(one.count for one in plan.unplaced if not one.best_effort)
