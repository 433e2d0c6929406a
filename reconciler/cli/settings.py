"""What the global options say, kept in one value, and what is said to people."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from dataclasses import dataclass

import click

from reconciler.operations.settings import WorkspaceSettings


@dataclass(slots=True)
class Settings(WorkspaceSettings):
    """What the global options say: what an operation is about, and how it is shown."""

    quiet: bool = False
    verbose: int = 0
    no_colour: bool = False
    events: bool = False
    """Whether what is reported goes to stdout as lines of JSON, beside what people read on stderr."""

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
