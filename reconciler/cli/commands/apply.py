"""`gpurec apply`: apply a plan after approval."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from reconciler.cli.global_options import global_options
from reconciler.cli.options import choice_options, failure_limit_option, lock_timeout_option
from reconciler.cli.settings import Settings, settings_of

if TYPE_CHECKING:
    from reconciler.fleet import Solver
    from reconciler.operations.apply_result import ApplyResult
    from reconciler.operations.observation import PlanOptions
    from reconciler.operations.proposal import Proposal
    from reconciler.operations.run import ApplyOptions, FailureLimit


@click.command("apply")
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option("--auto-approve", is_flag=True, help="Do not ask.")
@click.option("--parallelism", type=click.IntRange(1, 256), default=10, show_default=True, help="Steps at once over the fleet.")
@click.option("--keep-going", is_flag=True, help="After a failure go on with every step that does not need the failed one.")
@failure_limit_option
@click.option("--force", is_flag=True, help="Unload also what is still busy after policy.drain.")
@click.option("--resume", is_flag=True, help="Go on with the saved plan of FILE where an earlier run of it stopped.")
@click.option("--expect-digest", metavar="D", help="Carry out only the plan of this digest (sha256:…); otherwise exit 6.")
@lock_timeout_option
@click.option(
    "--format",
    "format_",
    type=click.Choice(["text", "ndjson"]),
    default="text",
    show_default=True,
    help="ndjson: every event as a line of JSON, at once.",
)
@choice_options
@global_options
@click.pass_context
def command(
    context: click.Context,
    file: Path | None,
    auto_approve: bool,
    parallelism: int,
    keep_going: bool,
    max_fail: FailureLimit | None,
    force: bool,
    resume: bool,
    expect_digest: str | None,
    lock_timeout: float,
    format_: str,
    limit: str | None,
    exclude: str | None,
    refresh: bool,
    again: tuple[str, ...],
    solver: Solver | None,
    assume: Path | None,
) -> int:
    """Apply a plan: the saved one in FILE, or a fresh one after showing it and asking."""
    from reconciler.cli.command_line import command_line
    from reconciler.operations.observation import PlanOptions
    from reconciler.operations.run import ApplyOptions

    settings = settings_of(context)
    if keep_going and max_fail is not None:
        raise click.UsageError("--keep-going sets no bound to failures and --max-fail does; leave one of them out.")
    options = ApplyOptions(parallelism, keep_going, max_fail, lock_timeout, expect_digest, resume, command_line(context), force)
    if file is None and resume:
        raise click.UsageError("--resume needs the FILE of the plan that stopped; without one, apply plans anew and goes on by itself.")
    if file is not None and (limit is not None or exclude is not None or not refresh or assume is not None or again or solver):
        raise click.UsageError(
            "A saved plan holds its own --limit, --exclude, --replace and --solver, and is checked against fresh facts; leave them out."
        )
    settings.events = format_ == "ndjson"
    if settings.events and file is None and not auto_approve:
        raise click.UsageError("--format ndjson asks nothing; use --auto-approve, or the FILE of a saved plan.")
    choice = PlanOptions(limit, exclude, refresh, assume, frozenset(again), solver)
    with _told_as_event(settings):
        if file is None:
            return _apply_fresh(settings, choice, options, auto_approve)
        return _apply_saved(settings, settings.path(file), options)


@contextmanager
def _told_as_event(settings: Settings) -> Iterator[None]:
    """Whatever stops an apply is the last event, too."""
    from reconciler.fleet import GpurecError

    try:
        yield
    except GpurecError as error:
        if settings.events:
            from reconciler.cli.ndjson import emit
            from reconciler.operations.event_document import error_event

            emit(error_event(error))
        raise


def _apply_fresh(settings: Settings, choice: PlanOptions, options: ApplyOptions, auto_approve: bool) -> int:
    """Plans, shows, asks, carries out; the exit status. Without a yes nothing is done and no state is made."""
    from reconciler.cli.approval import approve
    from reconciler.cli.reporting import reporting
    from reconciler.cli.running import run
    from reconciler.operations.apply import confirm_assumed, plan_to_apply
    from reconciler.operations.saved_plan_checks import check_guards
    from reconciler.operations.state_warnings import warn_of_state

    proposal, options = run(settings, lambda report: plan_to_apply(settings, choice, options, report))
    _show_plan(settings, proposal)
    with reporting(settings) as report:
        warn_of_state(proposal, report)
    check_guards(proposal.plan)
    if not proposal.plan.empty and not approve(auto_approve=auto_approve, terminal=sys.stdin.isatty() and sys.stderr.isatty()):
        settings.say("Nothing was applied.")
        return 1
    proposal = run(settings, lambda report: confirm_assumed(settings, proposal, choice, report))
    done = _carry_out(settings, proposal, options)
    if done.steps or done.lost or proposal.plan.held or not proposal.plan.empty or settings.events:
        _show(settings, proposal, done)
    return _end(settings, proposal, done, "gpurec plan shows what is left, gpurec apply does it")


def _apply_saved(settings: Settings, path: Path, options: ApplyOptions) -> int:
    """Carries out a saved plan where no step of it is stale, and says what came of it, also where nothing was left to do."""
    import shlex

    from reconciler.cli.running import run
    from reconciler.operations.apply import check_saved_plan
    from reconciler.views import escape

    proposal, options = run(settings, lambda report: check_saved_plan(settings, path, options, report))
    if settings.events:
        _show_plan(settings, proposal)
    done = _carry_out(settings, proposal, options)
    _show(settings, proposal, done)
    return _end(settings, proposal, done, f"to go on where it stopped: gpurec apply {escape(shlex.quote(str(path)))} --resume")


def _show_plan(settings: Settings, proposal: Proposal) -> None:
    if settings.events:
        from reconciler.cli.ndjson import emit
        from reconciler.operations.event_document import plan_event

        emit(plan_event(proposal.plan))
        return
    from reconciler.views import plan_text

    click.echo(plan_text(proposal.plan, colour=settings.colour(), width=settings.width()), nl=False)


def _carry_out(settings: Settings, proposal: Proposal, options: ApplyOptions) -> ApplyResult:
    from reconciler.cli.running import run_stoppable
    from reconciler.operations.run import carry_out

    return run_stoppable(settings, lambda report, stop: carry_out(settings, proposal, options, report, stop))


def _show(settings: Settings, proposal: Proposal, done: ApplyResult) -> None:
    if settings.events:
        from reconciler.cli.ndjson import emit
        from reconciler.operations.event_document import result_event
        from reconciler.operations.exit_status import Command, exit_status, of_apply

        emit(result_event(done, exit_status(Command.APPLY, of_apply(proposal.plan, done))))
        return
    from reconciler.operations.exit_status import unplaced
    from reconciler.views import HeldLine, LostLine, StepLine, outcome_text

    plan = proposal.plan
    text = outcome_text(
        [StepLine(one.address, one.action.value, one.status.value, one.message or one.reason) for one in done.steps],
        seconds=done.seconds,
        serial=done.serial,
        unplaced=unplaced(plan),
        deferred=len(plan.deferred),
        held=[HeldLine(note.address, note.message) for note in plan.held],
        lost=[LostLine(one.address, one.message, one.ours) for one in done.lost],
        interrupted=done.interrupted,
        colour=settings.colour(),
        width=settings.width(),
    )
    click.echo("\n" + text, nl=False)


def _end(settings: Settings, proposal: Proposal, done: ApplyResult, to_go_on: str) -> int:
    """The exit status; `to_go_on` is what to do after an interruption."""
    from reconciler.operations.exit_status import Command, exit_status, of_apply

    if done.interrupted:
        settings.say(f"Interrupted: {to_go_on}.")
    return exit_status(Command.APPLY, of_apply(proposal.plan, done))
