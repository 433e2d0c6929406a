"""`gpurec show`: a saved plan again."""

from __future__ import annotations

from pathlib import Path

import click

from reconciler.cli.global_options import global_options
from reconciler.cli.options import format_option
from reconciler.cli.settings import settings_of


@click.command("show")
@click.argument("file", type=click.Path(path_type=Path))
@format_option
@global_options
@click.pass_context
def command(context: click.Context, file: Path, format_: str) -> None:
    """Show a saved plan again; needs no fleet."""
    from reconciler.operations.plan_file import read_plan
    from reconciler.views import plan_json, plan_text

    settings = settings_of(context)
    plan = read_plan(settings.path(file))
    text = plan_json(plan) if format_ == "json" else plan_text(plan, colour=settings.colour(), width=settings.width())
    click.echo(text, nl=False)
