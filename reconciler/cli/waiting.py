"""`--lock-timeout`: how long a command that writes the state waits for another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])


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
