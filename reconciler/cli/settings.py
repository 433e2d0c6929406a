"""The global options: taken before the command and after it, from `GPUREC_…` in the environment, and kept in one value."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from reconciler.operations.settings import WorkspaceSettings

Command = TypeVar("Command", bound=Callable[..., Any])


@dataclass(slots=True)
class Settings(WorkspaceSettings):
    """What the global options say: what an operation is about, and how it is shown."""

    quiet: bool = False
    verbose: int = 0
    no_colour: bool = False

    def colour(self) -> bool:
        """Colour only on a terminal that is not dumb, and never where `NO_COLOR` or `--no-color` says so."""
        return not (self.no_colour or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb") and sys.stdout.isatty()

    def width(self) -> int:
        """Cells of a line: of the terminal, within 60 and 200; 120 where there is none."""
        if not sys.stdout.isatty():
            return 120
        import shutil

        return max(60, min(200, shutil.get_terminal_size().columns))

    def say(self, text: str, *, level: int = 0) -> None:
        """A message for people on stderr: not with `-q`; those of a higher level only with as many `-v`."""
        if not self.quiet and level <= self.verbose:
            tell(text)


def tell(text: str) -> None:
    """A line on stderr. Where nobody can read it (a closed pipe, a full disk) it is lost: no run breaks off for want of a reader."""
    with suppress(OSError):
        click.echo(text, err=True)


def live_terminal() -> bool:
    """Whether stderr is a terminal that can move its cursor, for bars and lines that change in place."""
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


def settings_of(context: click.Context) -> Settings:
    return context.ensure_object(Settings)


def _store(name: str, convert: Callable[[Any], Any] = lambda value: value) -> Callable[[click.Context, click.Parameter, Any], None]:
    def callback(context: click.Context, parameter: click.Parameter, value: Any) -> None:
        if value not in (None, (), False, 0):
            setattr(settings_of(context), name, convert(value))

    return callback


def _add_desired(context: click.Context, parameter: click.Parameter, value: tuple[str, ...]) -> None:
    settings_of(context).desired += tuple(Path(one) for one in value)


def global_options(command: Command) -> Command:
    """The options of every command; given twice, the one after the command wins (`-f` adds up)."""
    options = (
        click.option(
            "-C", "--directory", metavar="DIR", expose_value=False, callback=_store("directory", Path), help="Workspace to work in."
        ),
        click.option("--fleet", metavar="NAME", expose_value=False, callback=_store("fleet"), help="Fleet of the workspace."),
        click.option(
            "-i",
            "--inventory",
            metavar="INVENTORY",
            expose_value=False,
            callback=_store("inventory", Path),
            help="Inventory file or folder.",
        ),
        click.option(
            "-f",
            "--desired",
            metavar="DESIRED",
            multiple=True,
            expose_value=False,
            callback=_add_desired,
            help="Desired state; repeatable.",
        ),
        click.option("--state", metavar="URL", expose_value=False, callback=_store("state"), help="State: sqlite:///PATH, or a path."),
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
