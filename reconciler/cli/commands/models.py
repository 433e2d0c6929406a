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
    from contextlib import closing
    from dataclasses import replace

    from reconciler.cli.commands.check.model import look_at
    from reconciler.operations.workspace import state_path
    from reconciler.placement import model_needs
    from reconciler.planning import unused_tags
    from reconciler.state import open_reader
    from reconciler.views import models_json, models_text

    settings = settings_of(context)
    workspace, facts, applied = look_at(settings, refresh, assume)
    with closing(open_reader(state_path(settings, workspace))) as state:
        unused = unused_tags(workspace.fleet, workspace.desired, facts, replace(applied, tags=state.tags()))
    found = model_needs(workspace.fleet, workspace.desired, facts, applied, workspace.catalogue)
    as_json = format_ == "json"
    text = models_json(found, unused) if as_json else models_text(found, unused, colour=settings.colour(), width=settings.width())
    click.echo(text, nl=False)
