"""`gpurec models`: what is known of the needs of every wanted model, by engine kind, and where each figure is from."""

from __future__ import annotations

from pathlib import Path

import click

from reconciler.cli.options import format_option
from reconciler.cli.settings import global_options, settings_of


@click.command("models")
@click.option(
    "--refresh", type=click.Choice(["always", "never"]), default="always", show_default=True, help="Probe, or use the recorded facts."
)
@click.option("--assume", metavar="FACTS", type=click.Path(path_type=Path), help="Facts of a file instead of probing.")
@format_option
@global_options
@click.pass_context
def command(context: click.Context, refresh: str, assume: Path | None, format_: str) -> None:
    """Show the known needs of every wanted model and where they come from."""
    from reconciler.cli.running import run
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
