"""`gpurec show`: a saved plan again."""

from __future__ import annotations

from pathlib import Path

import click

from reconciler.cli.global_options import global_options
from reconciler.cli.options import View, view_options
from reconciler.cli.settings import settings_of


@click.command("show")
@click.argument("file", type=click.Path(path_type=Path))
@view_options("markdown", "html")
@global_options
@click.pass_context
def command(context: click.Context, file: Path, view: View) -> None:
    """Show a saved plan again; needs no fleet."""
    from reconciler.cli.plan_output import as_text
    from reconciler.operations.plan_file import read_plan

    settings = settings_of(context)
    click.echo(as_text(settings, read_plan(settings.path(file)), view), nl=False)
