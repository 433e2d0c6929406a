"""The global options: taken before the command and after it, from `GPUREC_…` in the environment."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from reconciler.cli import completion
from reconciler.cli.settings import settings_of

Command = TypeVar("Command", bound=Callable[..., Any])


def _store(name: str, convert: Callable[[Any], Any] = lambda value: value) -> Callable[[click.Context, click.Parameter, Any], None]:
    def callback(context: click.Context, parameter: click.Parameter, value: Any) -> None:
        if value not in (None, (), False, 0):
            setattr(settings_of(context), name, convert(value))

    return callback


def _add_desired(context: click.Context, parameter: click.Parameter, value: tuple[Path, ...]) -> None:
    settings_of(context).desired += value


def global_options(command: Command) -> Command:
    """The options of every command; given twice, the one after the command wins (`-f` adds up)."""
    options = (
        click.option(
            "-C", "--directory", metavar="DIR", expose_value=False, callback=_store("directory", Path), help="Workspace to work in."
        ),
        click.option(
            "--fleet",
            metavar="NAME",
            expose_value=False,
            callback=_store("fleet"),
            shell_complete=completion.fleets,
            help="Fleet of the workspace.",
        ),
        click.option(
            "-i",
            "--inventory",
            metavar="INVENTORY",
            multiple=True,
            type=click.Path(path_type=Path),
            expose_value=False,
            callback=_store("inventory"),
            help="Inventory file, folder or program; several are one inventory, as in Ansible.",
        ),
        click.option(
            "-f",
            "--desired",
            metavar="DESIRED",
            multiple=True,
            type=click.Path(path_type=Path),
            expose_value=False,
            callback=_add_desired,
            help="Desired state; several are layers, each over the ones before it.",
        ),
        click.option(
            "--state",
            metavar="URL",
            expose_value=False,
            callback=_store("state"),
            help="State: a path, sqlite:///PATH, or postgresql://USER@HOST/DATABASE.",
        ),
        click.option(
            "--state-new", is_flag=True, expose_value=False, callback=_store("state_new"), help="Make the folder of the state too."
        ),
        click.option(
            "--allow-unsafe-state",
            is_flag=True,
            expose_value=False,
            callback=_store("allow_unsafe_state"),
            help="Apply with a state that others may write.",
        ),
        click.option(
            "--allow-outside-links",
            is_flag=True,
            expose_value=False,
            callback=_store("allow_outside_links"),
            help="Read files of the workspace that are links out of it.",
        ),
        click.option("-q", "--quiet", is_flag=True, expose_value=False, callback=_store("quiet"), help="Only results and errors."),
        click.option("-v", "--verbose", count=True, expose_value=False, callback=_store("verbose"), help="More messages; -vv tracebacks."),
        click.option("--no-color", is_flag=True, expose_value=False, callback=_store("no_colour"), help="No colour."),
    )
    for option in reversed(options):
        command = option(command)
    return command
