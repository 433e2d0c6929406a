"""`gpurec apply`: a plan, a yes, and what came of it."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from reconciler.cli.options import choice_options, lock_timeout_option
from reconciler.cli.settings import global_options, settings_of


@click.command("apply")
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option("--auto-approve", is_flag=True, help="Do not ask.")
@click.option("--parallelism", type=click.IntRange(1, 256), default=10, show_default=True, help="Steps at once over the fleet.")
@click.option("--keep-going", is_flag=True, help="After a failure go on with every step that does not need the failed one.")
@click.option("--max-fail", metavar="N|P%", help="Go on until so many steps failed, or so large a part of them.")
@click.option("--force", is_flag=True, help="Unload also what is still busy after policy.drain.")
@click.option("--resume", is_flag=True, help="Go on with the saved plan of FILE where an earlier run of it stopped.")
@click.option("--expect-digest", metavar="D", help="Carry out only the plan of this digest (sha256:…); otherwise exit 6.")
@lock_timeout_option
@choice_options
@global_options
@click.pass_context
def command(
    context: click.Context,
    file: Path | None,
    auto_approve: bool,
    parallelism: int,
    keep_going: bool,
    max_fail: str | None,
    force: bool,
    resume: bool,
    expect_digest: str | None,
    lock_timeout: float,
    limit: str | None,
    exclude: str | None,
    refresh: str,
    again: tuple[str, ...],
    assume: Path | None,
) -> int:
    """Carry out a plan: the saved one in FILE, or a fresh one after showing it and asking."""
    from reconciler.cli.command_line import command_line
    from reconciler.operations.apply import ApplyOptions, apply_fresh, apply_saved
    from reconciler.operations.observation import Choice
    from reconciler.operations.run import execution_options

    settings = settings_of(context)
    if keep_going and max_fail is not None:
        raise click.UsageError("--keep-going sets no bound to failures and --max-fail does; leave one of them out.")
    options = ApplyOptions(
        parallelism,
        keep_going,
        max_fail,
        lock_timeout,
        auto_approve,
        sys.stdin.isatty() and sys.stderr.isatty(),
        expect_digest,
        resume,
        command_line(context),
        force,
    )
    execution_options(options, 1)  # what is wrong with them is said before anything is asked or waited for
    if file is None and resume:
        raise click.UsageError("--resume needs the FILE of the plan that stopped; without one, apply plans anew and goes on by itself.")
    if file is None:
        return apply_fresh(settings, Choice(limit, exclude, refresh, assume, frozenset(again)), options)
    if limit is not None or exclude is not None or refresh != "always" or assume is not None or again:
        raise click.UsageError(
            "A saved plan holds its own --limit, --exclude and --replace, and is checked against fresh facts; leave them out."
        )
    return apply_saved(settings, settings.path(file), options)
