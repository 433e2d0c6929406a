"""`gpurec plan`: what would change."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from reconciler.cli.global_options import global_options
from reconciler.cli.options import View, choice_options, view_options, what_if_options
from reconciler.cli.settings import Settings, settings_of

if TYPE_CHECKING:
    from reconciler.fleet import Solver
    from reconciler.operations.observation import PlanOptions
    from reconciler.operations.what_if import WhatIf
    from reconciler.planning.what_if import AddedCard


@click.command("plan")
@click.option("--out", metavar="FILE", type=click.Path(path_type=Path), help="Save the plan, for show and apply.")
@view_options("markdown", "html")
@click.option("--detailed-exitcode", is_flag=True, help="Exit 2 when changes are pending, 4 when something is unreachable.")
@choice_options
@what_if_options
@click.option(
    "--survive", metavar="N", type=click.IntRange(1, 1000), help="What the loss of any N nodes would leave without a place (text and json)."
)
@global_options
@click.pass_context
def command(
    context: click.Context,
    out: Path | None,
    view: View,
    detailed_exitcode: bool,
    limit: str | None,
    exclude: str | None,
    refresh: bool,
    again: tuple[str, ...],
    solver: Solver | None,
    assume: Path | None,
    down: tuple[str, ...],
    add_gpu: tuple[AddedCard, ...],
    without: tuple[str, ...],
    survive: int | None,
) -> int:
    """Show what would change, and why; changes no state and no node. With --down, --add-gpu, --without or --survive it is about the fleet
    as it would be: such a plan cannot be saved or applied."""
    from reconciler.cli.plan_output import show_plan
    from reconciler.cli.running import run
    from reconciler.operations.observation import PlanOptions
    from reconciler.operations.proposal import plan_fleet
    from reconciler.operations.what_if import WhatIf, plan_what_if
    from reconciler.state import find_rescues, waiting_sentence
    from reconciler.views import escape

    settings = settings_of(context)
    options = PlanOptions(limit, exclude, refresh, assume, frozenset(again), solver)
    what = WhatIf(down, add_gpu, without)
    if out is not None and (what.asked or survive is not None):
        raise click.UsageError("A plan of a fleet as it would be cannot be applied, so it is not saved; leave --out away.")
    if survive is not None:
        return _survive(settings, survive, what, options, view, detailed_exitcode)
    if what.asked:
        proposal = run(settings, lambda report: plan_what_if(settings, what, options, report))
    else:
        proposal = run(settings, lambda report: plan_fleet(settings, options, report))
    for waiting in find_rescues(proposal.state.rescues):
        settings.say(f"Warning: {escape(waiting_sentence(waiting), 1000)}")
    return show_plan(settings, proposal.plan, out, view, detailed_exitcode)


def _survive(settings: Settings, lost: int, what: WhatIf, options: PlanOptions, view: View, detailed_exitcode: bool) -> int:
    from reconciler.cli.running import run
    from reconciler.operations.exit_status import ExitStatus
    from reconciler.operations.what_if import survive
    from reconciler.views.survival_text import survival_json, survival_text

    if view.format not in ("text", "json"):
        raise click.UsageError("--survive is told as text or json.")
    if view.detail != "full":
        raise click.UsageError("--survive is always told whole; leave --detail out.")
    found = run(settings, lambda report: survive(settings, lost, what, options, report))
    losses = [(one.nodes, one.unplaced) for one in found.losses]
    if view.format == "json":
        click.echo(survival_json(found.lost, found.nodes, found.cases, found.before, losses), nl=False)
    else:
        text = survival_text(found.lost, found.nodes, found.cases, found.before, losses, colour=settings.colour(), width=settings.width())
        click.echo(text, nl=False)
    lacks = any(one.count for one in found.losses)
    return ExitStatus.INCOMPLETE if detailed_exitcode and lacks else ExitStatus.DONE
