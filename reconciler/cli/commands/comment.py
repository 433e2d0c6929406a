"""`gpurec comment`: a plan or the drift as one sticky comment of a pull request."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from reconciler.cli.global_options import global_options
from reconciler.cli.options import choice_options
from reconciler.cli.settings import Settings, settings_of

if TYPE_CHECKING:
    from reconciler.fleet import SecretRef, Solver
    from reconciler.forge import ForgePlace
    from reconciler.operations.observation import PlanOptions
    from reconciler.planning import DriftReport, Plan
    from reconciler.views.markdown import Flavour

Found = TypeVar("Found")


@click.command("comment", short_help="Keep a plan or the drift as one comment of a pull request.")
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option("--drift", is_flag=True, help="The drift; outside of a pull request as an issue, which is closed when it is gone.")
@click.option("--number", metavar="N", type=click.IntRange(1, 2**31 - 1), help="The pull request, where CI does not say which.")
@click.option(
    "--token", metavar="env:NAME", callback=lambda _, __, text: _reference(text), help="Where the token is: env:NAME or file:PATH."
)
@choice_options
@global_options
@click.pass_context
def command(
    context: click.Context,
    file: Path | None,
    drift: bool,
    number: int | None,
    token: SecretRef | None,
    limit: str | None,
    exclude: str | None,
    refresh: bool,
    again: tuple[str, ...],
    solver: Solver | None,
    assume: Path | None,
) -> int:
    """Write the plan of FILE, or one that is made now, as a comment of the pull request that this CI job is of: over the one of the last
    time, so that a fleet has one. Where it cannot be made the comment says why."""
    from reconciler.forge import find_place
    from reconciler.operations.observation import PlanOptions

    if file is not None and (limit is not None or exclude is not None or not refresh or assume is not None or again or solver):
        raise click.UsageError("A saved plan holds its own --limit, --exclude, --replace and --solver; leave them out.")
    settings = settings_of(context)
    place = find_place(os.environ, number=number, token=token)
    options = PlanOptions(limit, exclude, refresh, assume, frozenset(again), solver)
    return _comment_drift(settings, place, file, options) if drift else _comment_plan(settings, place, file, options)


def _reference(text: str | None) -> SecretRef | None:
    from reconciler.fleet import SecretRef

    if text is None:
        return None
    scheme, colon, target = text.partition(":")
    if scheme not in ("env", "file") or not colon or not target:
        raise click.BadParameter("write env:NAME or file:PATH; the token itself would be seen by everyone who sees the processes")
    return SecretRef(scheme, target)


def _comment_plan(settings: Settings, place: ForgePlace, file: Path | None, options: PlanOptions) -> int:
    from reconciler.operations.exit_status import Command, exit_status, of_plan
    from reconciler.operations.saved_plan_checks import check_guards
    from reconciler.views.markdown import plan_markdown

    plan = _or_say_why(settings, place, "plan", lambda: _plan(settings, file, options))
    quiet = plan.empty and not (plan.unplaced or plan.held or plan.refusals)
    _keep(settings, place, plan.fleet, "plan", lambda budget: plan_markdown(plan, budget, _flavour(place)), only_if_there=quiet)
    check_guards(plan)
    return exit_status(Command.PLAN, of_plan(plan))


def _comment_drift(settings: Settings, place: ForgePlace, file: Path | None, options: PlanOptions) -> int:
    from reconciler.views.markdown import drift_markdown

    report = _or_say_why(settings, place, "drift", lambda: _drift(settings, file, options))
    needed = bool(report.counted) or report.unreachable
    fleet = report.plan.fleet
    _keep(settings, place, fleet, "drift", lambda budget: drift_markdown(report, budget), only_if_there=not needed)
    return 0


def _plan(settings: Settings, file: Path | None, options: PlanOptions) -> Plan:
    from reconciler.cli.running import run
    from reconciler.operations.plan_file import read_plan
    from reconciler.operations.proposal import plan_fleet

    if file is not None:
        return read_plan(settings.path(file))
    return run(settings, lambda report: plan_fleet(settings, options, report)).plan


def _drift(settings: Settings, file: Path | None, options: PlanOptions) -> DriftReport:
    from reconciler.planning import judge

    return judge(_plan(settings, file, options))


def _or_say_why(settings: Settings, place: ForgePlace, what: str, make: Callable[[], Found]) -> Found:
    """What is to be told; where it cannot be made the comment says why, and the reason is raised all the same."""
    from reconciler.fleet import GpurecError
    from reconciler.views.markdown import failure_markdown
    from reconciler.workspace.selection import fleet_name

    try:
        return make()
    except GpurecError as error:
        problems = error.problems
        try:
            fleet = fleet_name(settings.directory, settings.fleet, settings.inventory, settings.desired)
            _keep(settings, place, fleet, what, lambda budget: failure_markdown(fleet, what, problems, budget))
        except GpurecError as later:
            settings.say(f"Warning: nor could that be commented: {later.problems[0].sentence() if later.problems else later}")
        raise


def _keep(settings: Settings, place: ForgePlace, fleet: str, what: str, text: Callable[[int], str], *, only_if_there: bool = False) -> None:
    from reconciler.cli.running import run
    from reconciler.forge import keep_comment, keep_issue
    from reconciler.forge.sticky import marker
    from reconciler.views import escape

    mark = marker(fleet, what)
    body = text(place.budget - len(mark) - 2)
    if what == "drift" and place.number is None:
        title = f"gpurec: fleet {escape(fleet, 64)} drifted"
        kept = run(settings, lambda _: keep_issue(place, os.environ, mark, title, body, needed=not only_if_there))
        settings.say(f"The issue of fleet {escape(fleet)}: {kept}.")
    else:
        kept = run(settings, lambda _: keep_comment(place, os.environ, mark, body, only_if_there=only_if_there))
        settings.say(f"The comment of fleet {escape(fleet)}: {kept}.")


def _flavour(place: ForgePlace) -> Flavour:
    from reconciler.forge import Forge
    from reconciler.views.markdown import FLAT, FOLDING

    return FLAT if place.forge is Forge.BITBUCKET else FOLDING
