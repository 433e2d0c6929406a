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
    from reconciler.operations.observation import Observation, PlanOptions


@click.command("top")
@live_interval_option
@click.option("--once", is_flag=True, help="One look, for a pipe; so it is where stdout is no terminal.")
@global_options
@click.pass_context
def command(context: click.Context, interval: float, once: bool) -> int:
    """Show what every card and model is at, again and again until ^C. It probes, and writes nothing. One look ends with 4 when an engine
    cannot be reached."""
    from reconciler.cli.running import run
    from reconciler.operations.exit_status import Command, exit_status, of_facts
    from reconciler.operations.observation import look

    settings = settings_of(context)
    seen = run(settings, lambda report: look(settings, _options(), report))  # what is wrong with the files ends it here
    if once or not sys.stdout.isatty():
        click.echo(_text(settings, seen), nl=False)
        return exit_status(Command.LOOK, of_facts(seen.facts))
    _live(settings, interval, _text(settings, seen))
    return 0


def _options() -> PlanOptions:
    from reconciler.operations.observation import PlanOptions

    return PlanOptions(activity=True)


def _text(settings: Settings, seen: Observation) -> str:
    from reconciler.views.top_text import top_text

    return top_text(seen.workspace.name, seen.facts, seen.activity, colour=settings.colour(), width=settings.width())


def _live(settings: Settings, interval: float, first: str) -> None:
    """The screen is drawn anew in place; the one of the end stays."""
    import asyncio
    import time

    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    from reconciler.fleet import GpurecError
    from reconciler.operations.observation import look
    from reconciler.views.escape import escape

    with Live(Text.from_ansi(first), console=Console(no_color=not settings.colour()), auto_refresh=False, screen=False) as live:
        try:
            while True:
                time.sleep(interval)
                try:
                    text = _text(settings, asyncio.run(look(settings, _options())))
                except GpurecError as error:
                    text = f"{escape(error.problems[0].sentence(), 1000)}\n"
                live.update(Text.from_ansi(text), refresh=True)
        except KeyboardInterrupt:
            return
