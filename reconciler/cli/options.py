"""Options that several commands share, and the line that says how far probing is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from reconciler.cli.settings import Settings, live_terminal

if TYPE_CHECKING:
    from reconciler.fleet import Problem
    from reconciler.operations.observation import OnNode

Command = TypeVar("Command", bound=Callable[..., Any])


def choice_options(command: Command) -> Command:
    """`--limit`, `--exclude`, `--refresh`, `--replace` and `--assume`."""
    options = (
        click.option("--limit", metavar="PATTERN", help="Change only what is on these hosts; everything else counts where it is."),
        click.option("--exclude", metavar="PATTERN", help="Change nothing on these hosts."),
        click.option(
            "--refresh",
            type=click.Choice(["always", "never"]),
            default="always",
            show_default=True,
            help="Probe, or use the recorded facts.",
        ),
        click.option(
            "--replace",
            "again",
            metavar="ADDR",
            multiple=True,
            help="Load this replica again in any case, also one that is held; may be given several times.",
        ),
        click.option("--assume", metavar="FACTS", type=click.Path(path_type=Path), help="Facts of a file instead of probing."),
    )
    for option in reversed(options):
        command = option(command)
    return command


def format_option(command: Command) -> Command:
    return click.option("--format", "format_", type=click.Choice(["text", "json"]), default="text", show_default=True)(command)


def lock_timeout_option(command: Command) -> Command:
    """Gives the command `lock_timeout` in seconds; without the option it does not wait."""
    return click.option(
        "--lock-timeout",
        metavar="T",
        default="0s",
        show_default=True,
        callback=_seconds,
        help="How long to wait for the lock of the state.",
    )(command)


def _seconds(context: click.Context, parameter: click.Parameter, text: str) -> float:
    from reconciler.fleet import UnitError, parse_duration

    try:
        return parse_duration(text)
    except UnitError as error:
        raise click.BadParameter(f"{error}; {error.hint}") from error


@contextmanager
def probing_line(settings: Settings) -> Iterator[OnNode | None]:
    """Counts probed nodes on stderr, in place, on a terminal only; gone when it ends."""
    if settings.quiet or not live_terminal():
        yield None
        return
    seen = 0

    def on_node(_: object) -> None:
        nonlocal seen
        seen += 1
        click.echo(f"\rProbing… {seen:,}", err=True, nl=False)

    try:
        yield on_node
    finally:
        click.echo("\r\x1b[K", err=True, nl=False)


def print_warnings(settings: Settings, warnings: Sequence[Problem]) -> None:
    """Warnings of the files, on stderr."""
    from reconciler.views import escape

    for warning in warnings:
        settings.say(f"Warning: {escape(warning.sentence(), 1000)}")
