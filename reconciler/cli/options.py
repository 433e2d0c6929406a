"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from reconciler.cli import completion
from reconciler.value_class import value_class

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from reconciler.fleet import Solver
    from reconciler.operations.run import FailureLimit
    from reconciler.planning.what_if import AddedCard
    from reconciler.state import Shard

Command = TypeVar("Command", bound=Callable[..., Any])
MARKDOWN_BYTES = 65_536
"""What a comment of GitHub or Gitea holds."""
MARKDOWN_LEAST = 4096
MOST_COUNT = 2**63 - 1
"""The largest number that a state can hold, and so the largest that one may ask it for."""


@value_class
class View:
    """How a plan or a drift report is to be shown."""

    format: str = "text"
    max_bytes: int = MARKDOWN_BYTES
    detail: str = "full"


def choice_options(command: Command) -> Command:
    """`--limit`, `--exclude`, `--refresh`, `--replace`, `--solver` and `--assume`."""
    options = (
        click.option(
            "--limit",
            metavar="PATTERN",
            shell_complete=completion.hosts,
            help="Change only what is on these hosts; everything else counts where it is.",
        ),
        click.option("--exclude", metavar="PATTERN", shell_complete=completion.hosts, help="Change nothing on these hosts."),
        click.option(
            "--replace",
            "again",
            metavar="ADDR",
            multiple=True,
            shell_complete=completion.addresses,
            help="Load this replica again in any case, also one that is held; may be given several times.",
        ),
        click.option(
            "--solver",
            type=click.Choice(["builtin", "exact"]),
            callback=lambda _, __, value: _solver(value),
            help="Who looks for places, instead of `placement.solver` of the files; exact is an extra.",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return facts_options(command)


def what_if_options(command: Command) -> Command:
    """Gives the command `down`, `add_gpu` and `without`: the fleet as it would be."""
    for option in (
        click.option(
            "--without",
            metavar="MODEL",
            multiple=True,
            shell_complete=completion.models,
            help="What if nobody asked for this model; repeatable.",
        ),
        click.option(
            "--add-gpu",
            metavar="NODE:SIZE",
            multiple=True,
            callback=lambda _, __, texts: tuple(map(added_card, texts)),
            help="What if the node had one more card (gpu-a:24GiB); repeatable.",
        ),
        click.option(
            "--down", metavar="NODES", multiple=True, shell_complete=completion.hosts, help="What if these hosts were gone; repeatable."
        ),
    ):
        command = option(command)
    return command


def added_card(text: str) -> AddedCard:
    """`NODE:SIZE`. BadParameter: anything else."""
    from reconciler.planning.what_if import AddedCard

    node, colon, size = text.rpartition(":")
    if not colon or not node:
        raise click.BadParameter(f"{text!r} names no card; write gpu-a:24GiB", param_hint="--add-gpu")
    return AddedCard(node, card_bytes(size, "--add-gpu"))


def card_bytes(size: str, option: str) -> int:
    """The bytes of a card. BadParameter: no size, or less than 1 MiB."""
    from reconciler.fleet import MIB, UnitError, parse_bytes

    try:
        total = parse_bytes(size)
    except UnitError as error:
        raise click.BadParameter(f"{error}; {error.hint}", param_hint=option) from error
    if total < MIB:
        raise click.BadParameter(f"{size!r} is no size of a card; write 24GiB", param_hint=option)
    return total


def _solver(name: str | None) -> Solver | None:
    from reconciler.fleet import Solver

    return Solver(name) if name is not None else None


def facts_options(command: Command) -> Command:
    """`--refresh` (as `refresh`, whether to probe) and `--assume`."""
    for option in (
        click.option("--assume", metavar="FACTS", type=click.Path(path_type=Path), help="Facts of a file instead of probing."),
        click.option(
            "--refresh",
            type=click.Choice(["always", "never"]),
            default="always",
            show_default=True,
            callback=lambda _, __, value: value == "always",
            help="Probe, or use the recorded facts.",
        ),
    ):
        command = option(command)
    return command


def format_option(command: Command) -> Command:
    return click.option("--format", "format_", type=click.Choice(["text", "json"]), default="text", show_default=True)(command)


def view_options(*formats: str, detail: bool = True) -> Callable[[Command], Command]:
    """Gives the command `view`, a View: `--format` (text, json and `formats`), `--max-bytes` for markdown, and `--detail` for text. An
    option that the chosen format makes nothing of is refused."""

    def add(command: Command) -> Command:
        def viewing(*args: Any, format_: str, max_bytes: int, detail_: str = "full", **rest: Any) -> Any:
            _refuse_unused(click.get_current_context(), format_)
            return command(*args, view=View(format_, max_bytes, detail_), **rest)

        viewing = wraps(command)(viewing)
        options = [
            click.option("--format", "format_", type=click.Choice(["text", "json", *formats]), default="text", show_default=True),
            click.option(
                "--max-bytes",
                metavar="N",
                type=click.IntRange(MARKDOWN_LEAST),
                default=MARKDOWN_BYTES,
                show_default=True,
                help="Most bytes of markdown: sections shrink, the summary never does.",
            ),
        ]
        if detail:
            levels = click.Choice(["summary", "changes", "full"])
            options.append(
                click.option("--detail", "detail_", type=levels, default="full", show_default=True, help="How much of it as text.")
            )
        for option in reversed(options):
            viewing = option(viewing)
        return viewing  # type: ignore[return-value]  # the options take the place of `view`

    return add


_USED_BY = {"max_bytes": ("--max-bytes", "markdown"), "detail_": ("--detail", "text")}


def _refuse_unused(context: click.Context, format_: str) -> None:
    for name, (option, needed) in _USED_BY.items():
        if format_ != needed and context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise click.UsageError(f"{option} is for --format {needed} and does nothing for {format_}; leave it out.")


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


LEAST_INTERVAL, MOST_INTERVAL = 1.0, 7 * 86400.0


def interval_option(command: Command) -> Command:
    """Gives the command `interval` in seconds."""
    return click.option(
        "--interval", metavar="T", default="300s", show_default=True, callback=_interval, help="How long between two looks."
    )(command)


def live_interval_option(command: Command) -> Command:
    """The same for a screen, in seconds."""
    return click.option("--interval", metavar="T", default="5s", show_default=True, callback=_interval, help="Between two looks.")(command)


def loop_options(command: Command) -> Command:
    """Gives the command `mode` (`observe` or `apply`) and `log_format` (`text` or `json`)."""
    mode = click.option(
        "--mode",
        type=click.Choice(["observe", "apply"]),
        default="observe",
        show_default=True,
        help="Only tell, or carry plans out as well.",
    )
    log = click.option(
        "--log",
        "log_format",
        type=click.Choice(["text", "json"]),
        default="text",
        show_default=True,
        help="A line an event, on stdout.",
    )
    return mode(log(command))


def shard_option(command: Command) -> Command:
    """Gives the command `shard`; None where it is not given."""
    return click.option(
        "--shard",
        metavar="I/N",
        callback=_shard,
        help="Look at the I-th of N parts of the nodes; other loops on the same PostgreSQL state look at the rest.",
    )(command)


def _shard(context: click.Context, option: click.Parameter, text: str | None) -> Shard | None:
    if text is None:
        return None
    from reconciler.state.shards import MOST, Shard

    number, _, of = text.partition("/")
    if not (number.isdecimal() and of.isdecimal() and 1 <= int(number) <= int(of) <= MOST):
        raise click.BadParameter(f"{text[:20]!r} is none of I/N with 1 ≤ I ≤ N ≤ {MOST}, such as 2/4")
    return Shard(int(number), int(of))


def past_option(command: Command) -> Command:
    """Gives the command `since` in seconds; None where it is not given."""
    return click.option("--since", metavar="T", callback=_past, help="How far back: 90m, 24h, 7d.  [default: 24h]")(command)


def _past(context: click.Context, parameter: click.Parameter, text: str | None) -> float | None:
    return None if text is None else _seconds(context, parameter, text)


def _interval(context: click.Context, parameter: click.Parameter, text: str) -> float:
    seconds = _seconds(context, parameter, text)
    if not LEAST_INTERVAL <= seconds <= MOST_INTERVAL:
        raise click.BadParameter(f"{text!r} is not between 1s and 7 days; write one such as 60s or 5m")
    return seconds


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


def since_option(command: Command) -> Command:
    """Gives the command `since`: a run (int), a time (datetime), or how long ago (timedelta)."""
    return click.option(
        "--since",
        metavar="RUN|TIME|DURATION",
        callback=lambda _, __, text: since(text),
        help="Only what drifted after this run (3) or time (2026-01-31T12:00:00Z), or in the last 24h.",
    )(command)


def since(text: str | None) -> int | datetime | timedelta | None:
    """A bare number is a run. BadParameter: neither a run, a duration nor a time."""
    from datetime import timedelta

    from reconciler.fleet import parse_duration
    from reconciler.planning import moment

    if text is None:
        return None
    if text.isascii() and text.isdigit() and len(text) < 19:
        return int(text)
    with suppress(ValueError, OverflowError):
        return timedelta(seconds=parse_duration(text))
    with suppress(ValueError):
        return moment(text)
    hint = "write the number of a run, a duration as 24h, or a time as 2026-01-31T12:00:00Z"
    raise click.BadParameter(f"{text[:40]!r} is neither a run, a duration nor a time; {hint}", param_hint="--since")
