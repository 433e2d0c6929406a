"""`gpurec drift`: what is not as it was last applied."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import click

from reconciler.cli.global_options import global_options
from reconciler.cli.options import MOST_COUNT, View, since_option, view_options
from reconciler.cli.settings import settings_of


@click.command("drift")
@view_options("markdown", detail=False)
@since_option
@click.option(
    "--in-a-row",
    type=click.IntRange(1, MOST_COUNT),
    default=1,
    show_default=True,
    help="Only what this and the last runs all saw; needs --memory.",
)
@click.option("--memory", metavar="FILE", type=click.Path(path_type=Path), help="Keeps between runs since when, and how often in a row.")
@global_options
@click.pass_context
def command(context: click.Context, view: View, since: int | datetime | timedelta | None, in_a_row: int, memory: Path | None) -> int:
    """Compare the fleet with what was last applied; changes no state and no node. Exit 2 when it differs, else 4 when something cannot be
    reached."""
    if in_a_row > 1 and memory is None:
        raise click.UsageError("--in-a-row counts runs, so it needs --memory FILE to keep the count in.")
    import json

    from reconciler.cli.running import run
    from reconciler.operations.drift import find_drift
    from reconciler.operations.exit_status import Command, exit_status, of_drift
    from reconciler.views import drift_document, drift_text

    settings = settings_of(context)
    found = run(settings, lambda report: find_drift(settings, since, in_a_row, memory, report))
    if view.format == "json":
        click.echo(json.dumps(drift_document(found), indent=2))
    elif view.format == "markdown":
        from reconciler.views.markdown import drift_markdown

        click.echo(drift_markdown(found, view.max_bytes), nl=False)
    else:
        click.echo(drift_text(found, colour=settings.colour(), width=settings.width()), nl=False)
    return exit_status(Command.DRIFT, of_drift(found))
