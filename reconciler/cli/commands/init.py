"""`gpurec init`: a new workspace that plans as it stands."""

from __future__ import annotations

import shlex
from collections.abc import Container
from pathlib import Path

import click

from reconciler.cli.global_options import global_options
from reconciler.cli.settings import Settings, settings_of

INVENTORY = """\
# The machines with GPUs. The form is Ansible's YAML inventory, so playbooks can share it.
all:
  children:
    gpu:
      hosts:
        box:
          address: 127.0.0.1
          engines:
            ollama: {url: "http://127.0.0.1:11434"}    # add `gpus: [0]` here when several engines share the machine
          # The cards, where they cannot be probed. Without a size nothing new is placed on them.
          gpus:
            - {index: 0, vram: 8GiB}
"""
DESIRED = """\
# What is to be resident where. `gpurec plan` shows what would change, `gpurec apply` changes it.
version: 1
models:
  llama3.2:1b:
    engine: ollama
    on: gpu
    vram: 2GiB    # the need; leave it out once it was measured
"""
GITIGNORE = """\
# The state holds what was applied, for one team or machine; it is no source file.
/state/
"""
HERE = "127.0.0.1"
MOST_WARNINGS = 20
INVENTORY_FILE, DESIRED_FILE = "inventories/default.yaml", "desired/default.yaml"
FILES = {INVENTORY_FILE: INVENTORY, DESIRED_FILE: DESIRED, ".gitignore": GITIGNORE}


@click.command("init")
@click.argument("new", metavar="[DIR]", type=click.Path(path_type=Path, file_okay=False), default=".")
@click.option("--host", "hosts", metavar="HOST", multiple=True, help="Look at this host instead of this machine; repeatable.")
@click.option(
    "--port", "ports", metavar="N", type=click.IntRange(1, 65535), multiple=True, help="Look at this port, not the usual ones; repeatable."
)
@click.option(
    "--gpu",
    "gpus",
    metavar="[HOST:]SIZE",
    multiple=True,
    help="Declare a card where cards cannot be read (24GiB: of each host, gpu-a:24GiB: of that one); repeatable.",
)
@click.option("--no-look", is_flag=True, help="Write an example and look at nothing.")
@global_options
@click.pass_context
def command(
    context: click.Context, new: Path, hosts: tuple[str, ...], ports: tuple[int, ...], gpus: tuple[str, ...], no_look: bool
) -> None:
    """Make a new workspace in DIR that plans as it stands: with the engines that listen on this machine (or on the hosts that are named, or
    on those of an Ansible inventory, by -i) and the models that they hold, else with an example. Never overwrites a file."""
    from reconciler.operations.finding import PORTS
    from reconciler.operations.new_files import schema_file

    settings = settings_of(context)
    if settings.inventory and (hosts or no_look):
        raise click.UsageError("The hosts of the inventory are looked at: leave --host and --no-look away, or -i.")
    root = settings.path(new)
    files = {**FILES, INVENTORY_FILE: _checked(INVENTORY_FILE, INVENTORY), DESIRED_FILE: _checked(DESIRED_FILE, DESIRED)}
    looks = not no_look and not any((root / name).exists() for name in FILES)
    addresses = _addresses(settings, hosts) if looks else {}
    cards = _cards(gpus, addresses)
    found = _found(addresses, ports or PORTS)
    if found:
        from reconciler.views.inventory_yaml import inventory_yaml

        files = {INVENTORY_FILE: _checked(INVENTORY_FILE, inventory_yaml(found, _silent(addresses, found), cards)), ".gitignore": GITIGNORE}
    _written(settings, new, {**files, **dict(schema_file(name) for name in ("inventory", "desired"))})
    there = "" if new == Path() else f"cd {shlex.quote(str(new))} && "
    if found:
        listed = ", ".join(f"{kind} at {url}" for _, engines in found.values() for _, kind, url in engines)
        settings.say(f"Found {listed}.")
        _adopted(settings, new, there)
        return
    if looks:
        at = ", ".join(str(port) for port in ports or PORTS)
        settings.say(f"No engine answers on {_listed(list(addresses.values()))} (ports {at}): this is an example.")
    settings.say("Edit inventories/default.yaml and desired/default.yaml.")
    settings.say(f"Next: {there}gpurec plan")


def _checked(name: str, text: str) -> str:
    """The text of a file with the line by which an editor checks it."""
    from reconciler.operations.new_files import schema_line

    return schema_line(Path(name), "inventory" if name == INVENTORY_FILE else "desired") + text


def _written(settings: Settings, new: Path, files: dict[str, str]) -> None:
    from reconciler.operations.new_files import write_missing

    root = settings.path(new)
    written = write_missing(root, files, None if settings.allow_outside_links else root)
    for name in files:
        click.echo(f"{'created' if name in written else 'kept   '} {new / name}")


def _addresses(settings: Settings, hosts: tuple[str, ...]) -> dict[str, str]:
    """Where to look, by the name that the host gets: the hosts of the inventory that is named, the hosts that are, or this machine."""
    from reconciler.cli.running import run
    from reconciler.operations.workspace import load_nodes

    if not settings.inventory:
        return {_host_name() if host == HERE else host: host for host in hosts or (HERE,)}
    fleet, inventory = run(settings, lambda _: load_nodes(settings))
    for problem in inventory.warnings[:MOST_WARNINGS]:
        settings.say(f"Warning: {problem.sentence()}")
    return {name: node.address for name, node in fleet.nodes.items()}


def _cards(gpus: tuple[str, ...], addresses: dict[str, str]) -> dict[str, list[str]]:
    """The sizes of the cards that are declared, by host, in the order of the options."""
    from reconciler.cli.options import card_bytes

    cards: dict[str, list[str]] = {name: [] for name in addresses}
    for text in gpus:
        host, colon, size = text.rpartition(":")
        chosen = [name for name, address in addresses.items() if not colon or host in (name, address)]
        if not chosen:
            raise click.BadParameter(
                f"{text!r}: {host or 'no host'} is not looked at; name it with --host, in a new workspace", param_hint="--gpu"
            )
        card_bytes(size, "--gpu")
        for name in chosen:
            cards[name].append(size)
    return cards


def _found(addresses: dict[str, str], ports: tuple[int, ...]) -> dict[str, tuple[str, list[tuple[str, str, str]]]]:
    """The engines that answer, by the name of their host: its address, and (name, kind, url) of each."""
    import asyncio

    from reconciler.operations.finding import find_engines

    answering = asyncio.run(find_engines(tuple(dict.fromkeys(addresses.values())), ports))
    found: dict[str, tuple[str, list[tuple[str, str, str]]]] = {}
    for name, address in addresses.items():
        engines: list[tuple[str, str, str]] = []
        for one in answering:
            if one.host == address:
                kind = one.kind.value
                engines.append((kind if kind not in {engine for engine, _, _ in engines} else f"{kind}-{one.port}", kind, one.url))
        if engines:
            found[name] = (address, engines)
    return found


def _silent(addresses: dict[str, str], found: Container[str]) -> list[tuple[str, str]]:
    """The hosts on which no engine answers, each with its address."""
    return [(name, address) for name, address in addresses.items() if name not in found]


def _listed(hosts: list[str]) -> str:
    from reconciler.views import escape

    more = f" and {len(hosts) - MOST_WARNINGS:,} more" if len(hosts) > MOST_WARNINGS else ""
    return ", ".join(escape(host) for host in hosts[:MOST_WARNINGS]) + more


def _host_name() -> str:
    """The name of this machine as a host of an inventory."""
    import socket

    name = "".join(letter if letter.isalnum() and letter.isascii() else "-" for letter in socket.gethostname().partition(".")[0].lower())
    return name.strip("-") if name.strip("-") not in ("", "local", "all") and not name.strip("-").isdigit() else "box"


def _adopted(settings: Settings, new: Path, there: str) -> None:
    """Writes what the engines hold as desired state, and says what could not be and which command comes then."""
    from dataclasses import replace

    from reconciler.cli.running import run
    from reconciler.operations.importing import import_running
    from reconciler.planning.importing import CARDS_UNKNOWN
    from reconciler.views import desired_text, escape
    from reconciler.views.inventory_yaml import CARDS_LINE

    root = settings.path(new)
    fleet = run(
        replace(settings, directory=root, inventory=()),
        lambda report: import_running(replace(settings, directory=root, inventory=()), report),
    )
    _written(settings, new, {DESIRED_FILE: _checked(DESIRED_FILE, desired_text(fleet.found, fleet.fleet, fleet.facts.at))})
    left_out = fleet.found.left_out
    for one in left_out[:MOST_WARNINGS]:
        settings.say(f"Warning: {escape(one.what)} is left out: {escape(one.why)}")
    if fleet.found.models:
        settings.say(f"What they hold is in {DESIRED_FILE}{', but for what is left out' if left_out else ''}.")
    elif not left_out:
        settings.say(f"They hold nothing now: write what is wanted into {DESIRED_FILE}.")
    if not left_out:
        settings.say(f"Next: {there}gpurec plan")
        return
    if any(one.why == CARDS_UNKNOWN for one in left_out):
        lines = (root / INVENTORY_FILE).read_text(encoding="utf-8").splitlines()
        at = next((number for number, line in enumerate(lines, 1) if line == CARDS_LINE), 1)
        settings.say(
            f"Declare the cards at {new / INVENTORY_FILE}:{at}, as the comment there does (in a new folder, init --gpu 24GiB does it)."
        )
    settings.say(f"Next, once that is mended: {there}gpurec import --out {DESIRED_FILE} --force, then gpurec plan")
