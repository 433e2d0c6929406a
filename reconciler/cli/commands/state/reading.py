"""`gpurec state list`, `show` and `check`: they only read, and need no lock."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from reconciler.cli import completion
from reconciler.cli.global_options import global_options
from reconciler.cli.options import format_option
from reconciler.cli.settings import settings_of

if TYPE_CHECKING:
    from reconciler.fleet import AppliedReplica, AppliedResource


@click.command("list", short_help="List what the state owns.")
@click.argument("pattern", required=False)
@format_option
@global_options
@click.pass_context
def list_(context: click.Context, pattern: str | None, format_: str) -> None:
    """List what the state owns: all of it, or the addresses that PATTERN matches (`*@gpu-a/*`, `model.llama*`)."""
    import json
    from contextlib import closing
    from fnmatch import fnmatchcase

    from reconciler.cli.commands.state.rows import owned_row
    from reconciler.cli.state_file import find_state
    from reconciler.views.escape import escape

    settings = settings_of(context)
    with closing(find_state(settings).reader()) as state:
        applied = state.applied()
    every: list[AppliedReplica | AppliedResource] = [*applied.replicas.values(), *applied.resources.values()]
    owned = sorted(every, key=lambda one: one.address)
    chosen = [one for one in owned if pattern is None or fnmatchcase(one.address, pattern)]
    if format_ == "json":
        click.echo(json.dumps([owned_row(one) for one in chosen], indent=2))
        return
    for one in chosen:
        click.echo(escape(one.address, 2000))
    if not chosen:
        settings.say("The state owns nothing." if not owned else f"None of {len(owned):,} addresses matches.")


@click.command("show", short_help="Show all that is held of one address.")
@click.argument("address", metavar="ADDR", shell_complete=completion.addresses)
@format_option
@global_options
@click.pass_context
def show(context: click.Context, address: str, format_: str) -> None:
    """Show all that the state holds of one address: what was asked, and what was seen right after."""
    import json
    from contextlib import closing

    from reconciler.cli.commands.state.rows import owned_document
    from reconciler.cli.commands.state.writing import unknown_address
    from reconciler.cli.state_file import find_state
    from reconciler.views.state_text import replica_text

    settings = settings_of(context)
    store = find_state(settings)
    with closing(store.reader()) as state:
        applied = state.applied()
    owned: dict[str, AppliedReplica | AppliedResource] = {**applied.replicas, **applied.resources}
    if address not in owned:
        raise unknown_address(address, owned, store)
    document = owned_document(owned[address])
    if format_ == "json":
        click.echo(json.dumps(document, indent=2))
    else:
        click.echo(replica_text(document, colour=settings.colour(), width=settings.width()), nl=False)


@click.command("check", short_help="Look whether the state is sound.")
@format_option
@global_options
@click.pass_context
def check(context: click.Context, format_: str) -> int:
    """Look whether the state is sound. Exit 1 when something is wrong with it; a warning is no error."""
    import json
    from dataclasses import asdict

    from reconciler.cli.state_file import find_state
    from reconciler.operations.exit_status import Command, exit_status, of_soundness
    from reconciler.state import StateLevel
    from reconciler.views.state_text import FindingRow, check_text

    settings = settings_of(context)
    store = find_state(settings)
    found = store.check()
    sound = all(one.level is not StateLevel.ERROR for one in found)
    if format_ == "json":
        click.echo(json.dumps({"state": str(store), "sound": sound, "findings": [asdict(one) for one in found]}, indent=2))
    else:
        rows = [FindingRow(one.name, one.level.value, one.message, one.hint) for one in found]
        click.echo(check_text(str(store), rows, colour=settings.colour(), width=settings.width()), nl=False)
    return exit_status(Command.CHECK, of_soundness(sound))
