"""`gpurec history`: earlier applies."""

from __future__ import annotations

from contextlib import closing

import click

from reconciler.cli.looking import format_option
from reconciler.cli.settings import global_options, settings_of


@click.command("history")
@click.option("--last", type=click.IntRange(min=1), default=20, show_default=True, help="How many applies.")
@format_option
@global_options
@click.pass_context
def command(context: click.Context, last: int, format_: str) -> None:
    """Show earlier applies: when, who, which plan, and how they ended."""
    import json
    from dataclasses import asdict

    from reconciler.cli.opening import open_workspace, state_path
    from reconciler.state import open_reader
    from reconciler.views import RunRow, history_text

    settings = settings_of(context)
    with closing(open_reader(state_path(settings, open_workspace(settings)))) as state:
        runs = state.runs(last)
    if format_ == "json":
        click.echo(json.dumps([asdict(run) for run in runs], indent=2))
        return
    rows = [RunRow(run.serial, run.started_at, f"{run.who}@{run.host}", run.result, run.command, run.plan_digest) for run in runs]
    click.echo(history_text(rows, colour=settings.colour(), width=settings.width()), nl=False)
