"""`gpurec rollback`: the plan back to what was applied at an earlier serial."""

from __future__ import annotations

from pathlib import Path

import click

from reconciler.cli.global_options import global_options
from reconciler.cli.options import MOST_COUNT, View, view_options
from reconciler.cli.settings import settings_of

_STAY = {"file": "what `files:` writes", "engine": "engines that gpurec starts", "agent": "agents and services"}
"""Kinds of resources of which the state keeps no earlier form."""


@click.command("rollback", short_help="Plan the way back to what was applied at a serial.")
@click.argument("serial", type=click.IntRange(0, MOST_COUNT))
@click.option("--out", metavar="FILE", type=click.Path(path_type=Path), help="Save the plan, for show and apply.")
@view_options("markdown", "html")
@click.option("--detailed-exitcode", is_flag=True, help="Exit 2 when changes are pending, 4 when something is unreachable.")
@global_options
@click.pass_context
def command(context: click.Context, serial: int, out: Path | None, view: View, detailed_exitcode: bool) -> int:
    """Plan the way back to what was applied at SERIAL (see history); changes no state, no file and no node. `apply FILE` carries it out.
    The desired files stay as they are: until they say the same, the next plan leads forward again."""
    from reconciler.cli.plan_output import show_plan
    from reconciler.cli.running import run
    from reconciler.fleet import parse_resource_address
    from reconciler.operations.proposal import plan_rollback
    from reconciler.views import escape

    settings = settings_of(context)
    proposal, lost = run(settings, lambda report: plan_rollback(settings, serial, report))
    for address in lost[:20]:
        settings.say(f"Warning: {escape(address)} was applied then, and its engine is not in the inventory now")
    kinds = {parse_resource_address(address)[0] for address in proposal.resources}
    if stay := [word for kind, word in _STAY.items() if kind in kinds]:
        what = f"{', '.join(stay[:-1])} and {stay[-1]}" if len(stay) > 1 else stay[0]
        settings.say(f"Warning: models go back, and {what} do not: they are as the files of now make them with the models of then")
    return show_plan(settings, proposal.plan, out, view, detailed_exitcode)
