"""`gpurec diff`: two saved plans against each other."""

from __future__ import annotations

from pathlib import Path

import click

from reconciler.cli.global_options import global_options
from reconciler.cli.options import format_option
from reconciler.cli.settings import settings_of


@click.command("diff")
@click.argument("first", metavar="FILE", type=click.Path(path_type=Path))
@click.argument("second", metavar="FILE", type=click.Path(path_type=Path))
@format_option
@global_options
@click.pass_context
def command(context: click.Context, first: Path, second: Path, format_: str) -> None:
    """Show what the second saved plan does otherwise than the first; needs no fleet."""
    import json

    from reconciler.operations.plan_file import read_plan
    from reconciler.planning.compare import compare_plans
    from reconciler.views.compare_text import compare_document, compare_text

    settings = settings_of(context)
    one, other = read_plan(settings.path(first)), read_plan(settings.path(second))
    found = compare_plans(one, other)
    if format_ == "json":
        click.echo(json.dumps(compare_document(one, other, found), indent=2))
    else:
        click.echo(compare_text(one, other, found, colour=settings.colour(), width=settings.width()), nl=False)
