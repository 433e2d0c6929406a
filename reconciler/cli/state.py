"""`gpurec state`: looking after the state. Nothing here asks or touches a node."""

from __future__ import annotations

import click

from reconciler.cli.settings import global_options
from reconciler.cli.state_files import backup, recover, restore
from reconciler.cli.state_reading import check, list_, show
from reconciler.cli.state_writing import mv, rm


@click.group("state")
@global_options
def command() -> None:
    """What the state owns, its copies and its health. Touches no node."""


for each in (list_, show, rm, mv, backup, restore, check, recover):
    command.add_command(each)
