"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from reconciler.operations.run import FailureLimit

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


def failure_limit_option(command: Command) -> Command:
    """Gives the command `max_fail`, a FailureLimit; None without the option."""
    return click.option(
        "--max-fail",
        metavar="N|P%",
        callback=lambda _, __, text: failure_limit(text),
        help="Go on until so many steps failed, or so large a part of them.",
    )(command)


def failure_limit(text: str | None) -> FailureLimit | None:
    """`N` or `P%`. BadParameter: neither."""
    if text is None:
        return None
    from reconciler.operations.run import FailureLimit

    number = text.strip().removesuffix("%")
    if not number.isascii() or not number.isdigit() or len(number) > 9:
        raise click.BadParameter(f"{text!r} is no number of steps; write 3 or 10%")
    return FailureLimit(int(number), text.strip().endswith("%"))


MOST_COUNT = 2**63 - 1
"""The largest number that a state can hold, and so the largest that one may ask it for."""
