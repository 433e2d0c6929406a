"""`gpurec state rm` and `mv`: changes to what the state owns, under its lock and as a run of history."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from reconciler.cli import completion
from reconciler.cli.global_options import global_options
from reconciler.cli.options import format_option, lock_timeout_option
from reconciler.cli.settings import settings_of

if TYPE_CHECKING:
    from reconciler.fleet import GpurecError
    from reconciler.state import StateWriter, Store


@click.command("rm", short_help="Forget addresses; what runs there goes on running.")
@click.argument("addresses", metavar="ADDR…", nargs=-1, required=True, shell_complete=completion.addresses)
@lock_timeout_option
@format_option
@global_options
@click.pass_context
def rm(context: click.Context, addresses: tuple[str, ...], lock_timeout: float, format_: str) -> None:
    """Forget addresses: what runs there goes on running and is no longer ours. Touches no node."""
    import json

    from reconciler.cli.reporting import reporting
    from reconciler.cli.state_file import find_state
    from reconciler.operations.recovery import editing, take_in_rescues
    from reconciler.views.escape import escape

    settings = settings_of(context)
    store = find_state(settings)
    command = f"state rm {' '.join(addresses)}"
    with reporting(settings) as report:
        take_in_rescues(store, lock_timeout, command, report)
    with reporting(settings) as report, editing(store, command, lock_timeout, report) as state:
        applied = state.applied()
        owned = {**applied.replicas, **applied.resources}
        for address in addresses:
            if address not in owned:
                raise unknown_address(address, owned, store)
        with run_of(state, command):
            state.forget(addresses)
        serial = state.applied().serial
    if format_ == "json":
        click.echo(json.dumps({"removed": list(addresses), "serial": serial}, indent=2))
        return
    for address in addresses:
        click.echo(f"forgotten {escape(address, 2000)}")
    settings.say(f"What runs there goes on running. Serial {serial}.")


@click.command("mv", short_help="Tell that a node was renamed.")
@click.argument("old", metavar="OLD_NODE", shell_complete=completion.owned_nodes)
@click.argument("new", metavar="NEW_NODE", shell_complete=completion.hosts)
@click.option("--memory", metavar="FILE", type=click.Path(path_type=Path), help="Rename it in this memory of gpurec drift too.")
@lock_timeout_option
@format_option
@global_options
@click.pass_context
def mv(context: click.Context, old: str, new: str, memory: Path | None, lock_timeout: float, format_: str) -> None:
    """Tell the state that a node was renamed: what it owns on OLD_NODE it owns on NEW_NODE from now on. Touches no node."""
    import json

    from reconciler.cli.reporting import reporting
    from reconciler.cli.state_file import find_state
    from reconciler.operations.drift import read_memory, write_memory
    from reconciler.operations.recovery import editing, take_in_rescues
    from reconciler.planning import with_node_renamed
    from reconciler.state import node_move
    from reconciler.views.escape import escape

    settings = settings_of(context)
    if not new or "/" in new or "@" in new:
        raise click.BadParameter(f"{new!r} is no name of a node", param_hint="NEW_NODE")
    command, store = f"state mv {old} {new}", find_state(settings)
    memory_file = settings.path(memory) if memory is not None else None
    remembered = read_memory(memory_file) if memory_file is not None else None
    with reporting(settings) as report:
        take_in_rescues(store, lock_timeout, command, report)
    with reporting(settings) as report, editing(store, command, lock_timeout, report) as state:
        move = node_move(state.applied(), state.recorded_facts(), old, new)
        with run_of(state, command):
            state.rename_node(move)
        serial = state.applied().serial
    if memory_file is not None and remembered is not None:
        write_memory(memory_file, with_node_renamed(remembered, old, new))
    moved = [one.address for one in move.replicas]
    if format_ == "json":
        click.echo(json.dumps({"moved": moved, "serial": serial}, indent=2))
        return
    for address in moved:
        click.echo(f"moved to {escape(address, 2000)}")
    settings.say(f"Rename the node in the inventory too. Serial {serial}.")


@click.command("rename-fleet", short_help="Tell that the fleet was renamed.")
@click.argument("old", metavar="OLD_NAME")
@click.argument("new", metavar="NEW_NAME")
@lock_timeout_option
@format_option
@global_options
@click.pass_context
def rename_fleet(context: click.Context, old: str, new: str, lock_timeout: float, format_: str) -> None:
    """Tell the state that the fleet OLD_NAME is called NEW_NAME now: it serves that fleet and no other. Touches no node."""
    import json

    from reconciler.cli.reporting import reporting
    from reconciler.cli.state_file import find_state
    from reconciler.operations.recovery import editing
    from reconciler.views.escape import escape
    from reconciler.workspace import fleet_name

    settings = settings_of(context)
    fleet_name(settings.directory, new, (), ())
    command, store = f"state rename-fleet {old} {new}", find_state(settings, any_fleet=True)
    with (
        reporting(settings) as report,
        editing(store, command, lock_timeout, report) as state,
        run_of(state, command),
    ):
        state.rename_fleet(old, new)
    if format_ == "json":
        click.echo(json.dumps({"state": str(store), "fleet": new}, indent=2))
    else:
        click.echo(f"{escape(str(store), 4000)} is the state of the fleet {escape(new)} now")


@contextmanager
def run_of(state: StateWriter, command: str) -> Iterator[None]:
    """A run of its own, so that history says who changed the state, when, and how."""
    run, result = state.begin_run("", "", command), "failed"
    try:
        yield
        result = "done"
    finally:
        state.finish_run(run, result)


def unknown_address(address: str, owned: Mapping[str, object], store: Store) -> GpurecError:
    """Says that the state does not own an address, with the nearest that it does."""
    from difflib import get_close_matches

    from reconciler.fleet import StateError

    near = get_close_matches(address, list(owned)[:10_000], 1, 0.6)
    return StateError.of(f"the state owns no {address!r}", str(store), f"did you mean {near[0]}?" if near else "see gpurec state list")
