"""`gpurec demo`: the whole product in half a minute, on simulated machines."""

from __future__ import annotations

import click

from reconciler.cli.global_options import global_options
from reconciler.cli.settings import settings_of


@click.command("demo")
@global_options
@click.pass_context
def command(context: click.Context) -> None:
    """Plan, apply, break and repair an embedded fleet, with the very commands that you would type. Needs no GPU and no network."""
    from reconciler.cli.commands.demo_script import demonstrate

    demonstrate(settings_of(context))
