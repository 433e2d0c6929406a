"""`gpurec models`: what is known of the needs of every wanted model, by engine kind, and where each figure is from."""

from __future__ import annotations

from pathlib import Path

import click

from reconciler.cli.global_options import global_options
from reconciler.cli.options import facts_options, format_option
from reconciler.cli.settings import settings_of


@click.command("models")
@facts_options
@format_option
@global_options
@click.pass_context
def command(context: click.Context, refresh: bool, assume: Path | None, format_: str) -> int:
    """Show the known needs of every wanted model and where they come from. Exit 4 when an engine cannot be reached."""
    from reconciler.cli.running import run
    from reconciler.operations.exit_status import Command, exit_status, of_facts
    from reconciler.operations.needs import find_needs
    from reconciler.operations.observation import PlanOptions
    from reconciler.views import models_json, models_text

    settings = settings_of(context)
    found = run(settings, lambda report: find_needs(settings, PlanOptions(refresh=refresh, assume=assume), report))
    if format_ == "json":
        text = models_json(found.models, found.unused_tags)
    else:
        text = models_text(found.models, found.unused_tags, colour=settings.colour(), width=settings.width())
    click.echo(text, nl=False)
    return exit_status(Command.LOOK, of_facts(found.facts))
