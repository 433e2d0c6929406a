"""`gpurec state`: looking after the state. Nothing here asks or touches a node."""

from __future__ import annotations

import click

from reconciler.cli.commands.state.copying import copy
from reconciler.cli.commands.state.files import backup, recover, restore
from reconciler.cli.commands.state.reading import check, list_, show
from reconciler.cli.commands.state.writing import mv, rename_fleet, rm
from reconciler.cli.global_options import global_options
from reconciler.cli.groups import CommandGroup


@click.group("state", cls=CommandGroup)
@global_options
def command() -> None:
    """What the state owns, its copies and its health. Touches no node."""


for each in (list_, show, rm, mv, rename_fleet, copy, backup, restore, check, recover):
    command.add_command(each)
