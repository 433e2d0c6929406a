"""`gpurec top`: cards and models, live."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from reconciler.cli.global_options import global_options
from reconciler.cli.options import live_interval_option
from reconciler.cli.settings import settings_of

if TYPE_CHECKING:
    from reconciler.cli.settings import Settings


@click.command("top")
@live_interval_option
@click.option("--once", is_flag=True, help="One look, for a pipe; so it is where stdout is no terminal.")
@global_options
@click.pass_context
def command(context: click.Context, interval: float, once: bool) -> None:
    """Show what every card and model is at, again and again until ^C. It probes, and writes nothing."""
    settings = settings_of(context)
    if once or not sys.stdout.isatty():
        click.echo(_look(settings, quiet=False), nl=False)
        return
    _live(settings, interval)


def _look(settings: Settings, *, quiet: bool) -> str:
    import asyncio

    from reconciler.cli.running import run
    from reconciler.operations.observation import PlanOptions, look
    from reconciler.views.top_text import top_text

    options = PlanOptions(activity=True)
    seen = asyncio.run(look(settings, options)) if quiet else run(settings, lambda report: look(settings, options, report))
    return top_text(seen.workspace.name, seen.facts, seen.activity, colour=settings.colour(), width=settings.width())


def _live(settings: Settings, interval: float) -> None:
    """The screen is drawn anew in place; the one of the end stays."""
    import time

    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    from reconciler.fleet import GpurecError
    from reconciler.views.escape import escape

    first = _look(settings, quiet=False)  # what is wrong with the files ends it here
    with Live(Text.from_ansi(first), console=Console(no_color=not settings.colour()), auto_refresh=False, screen=False) as live:
        try:
            while True:
                time.sleep(interval)
                try:
                    text = _look(settings, quiet=True)
                except GpurecError as error:
                    text = f"{escape(error.problems[0].sentence(), 1000)}\n"
                live.update(Text.from_ansi(text), refresh=True)
        except KeyboardInterrupt:
            return
