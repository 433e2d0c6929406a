"""`gpurec explain`: why a resource is where it is."""

from __future__ import annotations

from pathlib import Path

import click

from reconciler.cli import completion
from reconciler.cli.global_options import global_options
from reconciler.cli.options import facts_options, format_option
from reconciler.cli.settings import settings_of


@click.command("explain", short_help="Why a resource is where it is, and not elsewhere.")
@click.argument("address", metavar="ADDR", shell_complete=completion.explainable)
@format_option
@facts_options
@global_options
@click.pass_context
def command(context: click.Context, address: str, format_: str, refresh: bool, assume: Path | None) -> int:
    """Say why ADDR (model.NAME@NODE/ENGINE, file.PATH@NODE; model.NAME of a model with one place or none) is where it is: what the plan
    does about it, every engine with its reason, what moved for it, and what happened to it. Exit 4 when an engine cannot be reached."""
    from reconciler.cli.running import run
    from reconciler.operations.exit_status import Command, exit_status, of_facts
    from reconciler.operations.explaining import explain_address
    from reconciler.operations.observation import PlanOptions
    from reconciler.views.explain_text import explain_json, explain_text

    settings = settings_of(context)
    options = PlanOptions(refresh=refresh, assume=assume)
    found = run(settings, lambda report: explain_address(settings, address, options, report))
    if format_ == "json":
        text = explain_json(found.account, found.status, found.candidates, found.incidents, found.history)
    else:
        text = explain_text(
            found.account,
            found.status,
            found.candidates,
            found.incidents,
            found.history,
            colour=settings.colour(),
            width=settings.width(),
        )
    click.echo(text, nl=False)
    return exit_status(Command.LOOK, of_facts(found.facts))
