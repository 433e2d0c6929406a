"""`gpurec state copy`: a state moves to another place, such as from a file into a database."""

from __future__ import annotations

import click

from reconciler.cli.global_options import global_options
from reconciler.cli.options import format_option, lock_timeout_option
from reconciler.cli.settings import settings_of


@click.command("copy", short_help="Copy a state to another place: a file, a database.")
@click.argument("source", metavar="FROM")
@click.argument("to", metavar="TO")
@lock_timeout_option
@format_option
@global_options
@click.pass_context
def copy(context: click.Context, source: str, to: str, lock_timeout: float, format_: str) -> None:
    """Copy the state FROM to TO: paths, or URLs as --state takes them. TO must hold none yet; FROM is left as it is."""
    import json
    from dataclasses import asdict

    from reconciler.cli.state_file import warn_of_access
    from reconciler.operations.workspace import clear_fleet
    from reconciler.state import copy_state, fleet_to_copy, open_state, refuse_unsafe
    from reconciler.views.escape import escape
    from reconciler.workspace import STATE

    settings = settings_of(context)
    rescues = settings.path(STATE)
    old = open_state(source, settings.directory, settings.fleet or clear_fleet(settings), rescues)
    new = open_state(to, settings.directory, settings.fleet or fleet_to_copy(old), rescues)
    warn_of_access(settings, old)
    if new.file is not None and not settings.allow_unsafe_state:
        refuse_unsafe(new.file)
    done = copy_state(old, new, lock_timeout=lock_timeout, new_folder=settings.state_new)
    if format_ == "json":
        click.echo(json.dumps({"from": str(old), "to": str(new), **asdict(done)}, indent=2))
        return
    click.echo(f"Copied serial {done.serial} to {escape(str(new), 4000)}. Both hold the same: {done.digest}")
    settings.say(
        f"Use the copy from now on, with --state or GPUREC_STATE, and put {escape(str(old), 4000)} away: two of them would drift apart."
    )
