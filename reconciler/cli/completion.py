"""What a shell completes from the workspace: fleets, hosts and groups, models, addresses. Asks no node.

Each function gets the command so far and the beginning of a word. What cannot be read, for whatever reason, completes to nothing: a shell
that is asked for a word is no place for an error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import closing, suppress
from itertools import islice
from typing import TypeAlias

import click

from reconciler.cli.settings import Settings, settings_of

Complete: TypeAlias = Callable[[click.Context, click.Parameter, str], list[str]]
MOST = 1000


def _completing(names: Callable[[Settings], Iterable[str]]) -> Complete:
    def complete(context: click.Context, parameter: click.Parameter, begun: str) -> list[str]:
        with suppress(Exception):
            found = (name for name in sorted(set(names(settings_of(context)))) if name.startswith(begun) and name.isprintable())
            return list(islice(found, MOST))
        return []

    return complete


def _fleets(settings: Settings) -> Iterable[str]:
    from reconciler.workspace.selection import fleets

    return fleets(settings.directory)


def _hosts(settings: Settings) -> Iterable[str]:
    from reconciler.workspace import load_inventory

    inventory = load_inventory(settings.directory, fleet=settings.fleet, inventory=settings.inventory)
    return [*inventory.hosts, *inventory.groups]


def _models(settings: Settings) -> Iterable[str]:
    from reconciler.workspace import load_workspace

    workspace = load_workspace(settings.directory, fleet=settings.fleet, inventory=settings.inventory, desired=settings.desired)
    return [model.name for model in workspace.desired.models]


def _addresses(settings: Settings) -> Iterable[str]:
    from reconciler.operations.workspace import find_state

    with closing(find_state(settings).reader()) as state:
        return list(state.applied().replicas)


def _explainable(settings: Settings) -> Iterable[str]:
    """What the state owns, which may be nothing yet, and each model that is wanted."""
    owned: Iterable[str] = ()
    with suppress(Exception):
        owned = _addresses(settings)
    return [*owned, *(f"model.{name}" for name in _models(settings))]


def _owned_nodes(settings: Settings) -> Iterable[str]:
    from reconciler.fleet import parse_replica_address

    return [parse_replica_address(address)[1].node for address in _addresses(settings)]


fleets = _completing(_fleets)
hosts = _completing(_hosts)
"""Hosts and groups, as patterns take them."""
models = _completing(_models)
addresses = _completing(_addresses)
"""Addresses that the state owns."""
explainable = _completing(_explainable)
owned_nodes = _completing(_owned_nodes)
