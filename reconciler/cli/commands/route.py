"""`gpurec route`: where a request for a model should go."""

from __future__ import annotations

from pathlib import Path

import click

from reconciler.cli import completion
from reconciler.cli.global_options import global_options
from reconciler.cli.options import facts_options, format_option
from reconciler.cli.settings import settings_of


@click.command("route", short_help="Where a request for a model should go now.")
@click.argument("model", shell_complete=completion.models)
@click.option(
    "--tokens", metavar="N", type=click.IntRange(1, 10**9), default=512, show_default=True, help="Tokens to estimate the time for."
)
@format_option
@facts_options
@global_options
@click.pass_context
def command(context: click.Context, model: str, tokens: int, format_: str, refresh: bool, assume: Path | None) -> int:
    """Say which engine a request for MODEL should go to now, and of every engine yes or no and why. Exit 1 where none can serve it."""
    from reconciler.cli.running import run
    from reconciler.operations.exit_status import Command, exit_status, of_soundness
    from reconciler.operations.explaining import route_request
    from reconciler.operations.observation import PlanOptions
    from reconciler.views.route_text import route_json, route_text

    settings = settings_of(context)
    options = PlanOptions(refresh=refresh, assume=assume)
    found = run(settings, lambda report: route_request(settings, model, options, tokens, report))
    text = route_json(found) if format_ == "json" else route_text(found, colour=settings.colour(), width=settings.width())
    click.echo(text, nl=False)
    return exit_status(Command.CHECK, of_soundness(found.winner is not None))
