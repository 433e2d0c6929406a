"""`gpurec tutorial`: the demo, at the pace of whoever reads it."""

from __future__ import annotations

import sys

import click

from reconciler.cli.global_options import global_options
from reconciler.cli.settings import settings_of


@click.command("tutorial")
@global_options
@click.pass_context
def command(context: click.Context) -> None:
    """The demo with a pause before each command, in a workspace that you can look into meanwhile. Needs no GPU and no network."""
    from reconciler.cli.commands.demo_script import demonstrate

    if not sys.stdin.isatty():
        raise click.UsageError("The tutorial waits for Enter, so it needs a terminal; without one run: gpurec demo")
    demonstrate(settings_of(context), pause=_wait)


def _wait(line: str) -> None:
    """Shows a command and waits for Enter; an end of the input, or ^C, ends the tutorial."""
    click.prompt(click.style(f"\nNext: {line}  (Enter runs it, Ctrl-C ends)", dim=True), default="", show_default=False, prompt_suffix="")
