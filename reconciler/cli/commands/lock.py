"""`gpurec lock`: who holds the state, and taking it from a run that will not give it back."""

from __future__ import annotations

import sys

import click

from reconciler.cli.global_options import global_options
from reconciler.cli.groups import CommandGroup
from reconciler.cli.options import format_option
from reconciler.cli.settings import settings_of


@click.group("lock", cls=CommandGroup)
@global_options
def command() -> None:
    """The lock of the state: who holds it, and how to break it."""


@command.command("status")
@format_option
@global_options
@click.pass_context
def status(context: click.Context, format_: str) -> int:
    """Show who holds the lock. Exit 5 when an apply would not get it now."""
    import json

    from reconciler.cli.commands.state.rows import lock_document, lock_row
    from reconciler.cli.state_file import find_state
    from reconciler.operations.exit_status import Command, exit_status, of_lock
    from reconciler.views.state_text import lock_text

    settings = settings_of(context)
    store = find_state(settings)
    lock = store.lock()
    if format_ == "json":
        click.echo(json.dumps(lock_document(store, lock), indent=2))
    else:
        click.echo(lock_text(lock_row(lock), colour=settings.colour(), width=settings.width()), nl=False)
    return exit_status(Command.CHECK, of_lock(lock))


@command.command("release")
@click.option("--force", "--yes", "force", is_flag=True, help="Do not ask.")
@format_option
@global_options
@click.pass_context
def release(context: click.Context, force: bool, format_: str) -> int:
    """Take the lock from the run that holds it: that run can write nothing more. Asks first, and says whose lock it is."""
    import json

    from reconciler.cli.approval import confirm
    from reconciler.cli.commands.state.rows import lock_document, lock_row
    from reconciler.cli.state_file import find_state
    from reconciler.views.state_text import lock_text

    settings = settings_of(context)
    store = find_state(settings)
    lock = store.lock()
    if lock is None:
        document, said = {"released": False, **lock_document(store, None)}, "The state is not locked."
    else:
        settings.say(lock_text(lock_row(lock), width=settings.width()).rstrip())
        ask = "Its run may still be at work on the nodes; it will be able to record nothing more. Release its lock?"
        if not confirm(ask, yes=force, terminal=sys.stdin.isatty() and sys.stderr.isatty(), advice="use gpurec lock release --force"):
            settings.say("Nothing was released.")
            return 1
        store.break_lock(lock)
        document, said = {"released": True, **lock_document(store, lock)}, "Released. The next plan finds out by probing what that run did."
    click.echo(json.dumps(document, indent=2) if format_ == "json" else said)
    return 0
