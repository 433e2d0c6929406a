"""`gpurec inventory`: the inventory as it was understood."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from reconciler.cli import completion
from reconciler.cli.global_options import global_options
from reconciler.cli.options import format_option
from reconciler.cli.settings import Settings, settings_of

if TYPE_CHECKING:
    from reconciler.workspace import Inventory


@click.command("inventory")
@click.argument("pattern", default="all", shell_complete=completion.hosts)
@format_option
@global_options
@click.pass_context
def command(context: click.Context, pattern: str, format_: str) -> None:
    """Show the resolved inventory, of the hosts that PATTERN names; json is the form of `ansible-inventory --list`."""
    import json

    from reconciler.cli.running import run
    from reconciler.operations.workspace import load_hosts, load_nodes
    from reconciler.views import inventory_text

    settings = settings_of(context)
    if format_ == "json":
        inventory = run(settings, lambda _: load_hosts(settings))
        hosts, listing = inventory.match(pattern), inventory.as_ansible_json()
        _warn(settings, inventory)
        click.echo(json.dumps(listing if len(hosts) == len(inventory.hosts) else only_hosts(listing, hosts), indent=2))
        return
    fleet, inventory = run(settings, lambda _: load_nodes(settings))
    _warn(settings, inventory)
    nodes = [fleet.nodes[name] for name in inventory.match(pattern)]
    click.echo(inventory_text(nodes, colour=settings.colour(), width=settings.width()), nl=False)


def _warn(settings: Settings, inventory: Inventory) -> None:
    for problem in inventory.warnings:
        settings.say(f"warning: {problem.sentence()}")


def only_hosts(listing: dict[str, object], hosts: Sequence[str]) -> dict[str, object]:
    """A listing without the other hosts, as `ansible-inventory --list --limit` prints it."""
    kept = frozenset(hosts)
    shown: dict[str, object] = {}
    for group, entry in listing.items():
        if not isinstance(entry, dict):
            continue
        if group == "_meta":
            shown[group] = entry | {"hostvars": {name: values for name, values in entry["hostvars"].items() if name in kept}}
        else:
            narrowed = {key: [name for name in value if name in kept] if key == "hosts" else value for key, value in entry.items()}
            if any(narrowed.values()):
                shown[group] = {key: value for key, value in narrowed.items() if value}
    return shown
