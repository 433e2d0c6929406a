"""`gpurec plan`: what would change."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from reconciler.cli.options import choice_options, format_option, print_warnings, probing_line
from reconciler.cli.settings import global_options, settings_of

if TYPE_CHECKING:
    from reconciler.planning import Plan

CHANGES, UNREACHABLE = 2, 4


@click.command("plan")
@click.option("--out", metavar="FILE", type=click.Path(path_type=Path), help="Save the plan, for show and apply.")
@format_option
@click.option("--detailed-exitcode", is_flag=True, help="Exit 2 when changes are pending, 4 when something is unreachable.")
@choice_options
@global_options
@click.pass_context
def command(
    context: click.Context,
    out: Path | None,
    format_: str,
    detailed_exitcode: bool,
    limit: str | None,
    exclude: str | None,
    refresh: str,
    again: tuple[str, ...],
    assume: Path | None,
) -> int:
    """Show what would change, and why; changes no state and no node."""
    from reconciler.operations.observation import Choice, take_look
    from reconciler.operations.plan_file import save_plan
    from reconciler.operations.saved_plan_checks import check_guards
    from reconciler.state import find_rescues, waiting_sentence
    from reconciler.views import escape, plan_json, plan_text

    settings = settings_of(context)
    with probing_line(settings) as on_node:
        look = take_look(settings, Choice(limit, exclude, refresh, assume, frozenset(again)), on_node=on_node)
    print_warnings(settings, look.workspace.warnings)
    for waiting in find_rescues(look.state):
        settings.say(f"Warning: {escape(waiting_sentence(waiting), 1000)}")
    if out is not None:
        save_plan(settings.path(out), look.plan)
    text = plan_json(look.plan) if format_ == "json" else plan_text(look.plan, colour=settings.colour(), width=settings.width())
    click.echo(text, nl=False)
    if out is not None:
        settings.say(f"Saved to {out}. To carry out just this: gpurec apply {out}")
    check_guards(look.plan)
    return exit_status(look.plan) if detailed_exitcode else 0


def exit_status(plan: Plan) -> int:
    """2 when there is a step, else 4 when something could not be reached, else 0."""
    if not plan.empty:
        return CHANGES
    return UNREACHABLE if plan.deferred else 0
