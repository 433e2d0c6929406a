"""`gpurec sim`: the simulated fleet by itself."""

from __future__ import annotations

from pathlib import Path

import click

from reconciler.cli.global_options import global_options
from reconciler.cli.groups import CommandGroup
from reconciler.cli.settings import settings_of


@click.group("sim", cls=CommandGroup)
@global_options
def command() -> None:
    """A simulated fleet: real HTTP servers on loopback over simulated cards."""


@command.command("up")
@click.argument("file", required=False, type=click.Path(path_type=Path))
@global_options
@click.pass_context
def up(context: click.Context, file: Path | None) -> None:
    """Serve the fleet of FILE (or a built-in one, such as `demo`) until ^C."""
    from reconciler.cli.commands.sim_server import serve

    settings = settings_of(context)
    serve(settings.path(file) if file is not None else None)
