"""`gpurec plan`: what would change."""

from __future__ import annotations

from pathlib import Path

import click

from reconciler.cli.global_options import global_options
from reconciler.cli.options import View, choice_options, view_options
from reconciler.cli.settings import settings_of


@click.command("plan")
@click.option("--out", metavar="FILE", type=click.Path(path_type=Path), help="Save the plan, for show and apply.")
@view_options("markdown", "html")
@click.option("--detailed-exitcode", is_flag=True, help="Exit 2 when changes are pending, 4 when something is unreachable.")
@choice_options
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
    assume: Path | None,
) -> int:
    """Show what would change, and why; changes no state and no node."""
    from reconciler.cli.plan_output import show_plan
    from reconciler.cli.running import run
    from reconciler.operations.observation import PlanOptions
    from reconciler.operations.proposal import plan_fleet
    from reconciler.state import find_rescues, waiting_sentence
    from reconciler.views import escape

    settings = settings_of(context)
    options = PlanOptions(limit, exclude, refresh, assume, frozenset(again))
    proposal = run(settings, lambda report: plan_fleet(settings, options, report))
    for waiting in find_rescues(proposal.state):
        settings.say(f"Warning: {escape(waiting_sentence(waiting), 1000)}")
    return show_plan(settings, proposal.plan, out, view, detailed_exitcode)
