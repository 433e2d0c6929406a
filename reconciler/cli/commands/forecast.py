"""`gpurec forecast`: how full cards will be, by their history."""

from __future__ import annotations

import click

from reconciler.cli.global_options import global_options
from reconciler.cli.options import format_option
from reconciler.cli.settings import settings_of


@click.command("forecast")
@click.option("--hours", type=click.IntRange(1, 168), default=24, show_default=True, help="How far ahead.")
@format_option
@global_options
@click.pass_context
def command(context: click.Context, hours: int, format_: str) -> None:
    """Show how full each card will be, by what gpurec watch and gpurec serve saw: use, trend, interval, and when a level of
    policy.memory_pressure is reached. Where its past foretells nothing, it says so. Asks no node."""
    from reconciler.cli.running import run
    from reconciler.operations.forecasting import forecast_cards
    from reconciler.operations.workspace import load, state_of
    from reconciler.views.forecast_text import forecast_json, forecast_text

    settings = settings_of(context)
    workspace = run(settings, lambda report: load(settings, report))
    found = forecast_cards(state_of(settings, workspace), workspace.desired.policy.memory_pressure, hours)
    rows = [(one.card, one.at, one.total_bytes, one.levels, one.forecast) for one in found]
    if format_ == "json":
        click.echo(forecast_json(workspace.name, hours, rows), nl=False)
        return
    click.echo(forecast_text(rows, hours, colour=settings.colour(), width=settings.width()), nl=False)
