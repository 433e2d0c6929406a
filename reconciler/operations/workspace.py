"""Load: the files of a workspace, and where its state is."""

from __future__ import annotations

from pathlib import Path
from typing import TypedDict

from reconciler.fleet import Fleet, GpurecError
from reconciler.operations.inventory_program import printed_inventories
from reconciler.operations.reporter import FileWarning, Reporter, StateWarning, ignore
from reconciler.operations.settings import WorkspaceSettings
from reconciler.state import SqliteStore, Store, open_state, unsafe_sentence
from reconciler.workspace import (
    STATE,
    Inventory,
    Workspace,
    find_state_path,
    fleet_name,
    inventory_name,
    load_fleet,
    load_inventory,
    load_workspace,
    state_path_of,
)


async def load(settings: WorkspaceSettings, report: Reporter = ignore) -> Workspace:
    """Inventory and desired state of a fleet, checked; warnings of the files are reported.

    Raises GpurecError with every mistake, each with file, line and column.
    """
    workspace = load_workspace(
        settings.directory,
        desired=settings.desired,
        sections=[form for one in settings.types() for form in one.forms],
        **await _inventory(settings),
    )
    for problem in workspace.warnings:
        report(FileWarning(problem))
    warn_of_access(_store(settings, workspace.name), report)
    return workspace


async def load_nodes(settings: WorkspaceSettings, fleet: str | None = None) -> tuple[Fleet, Inventory]:
    """An inventory (of `fleet`, else of the one that the settings name) and its hosts as nodes, without a desired state.

    Raises WorkspaceError with every mistake.
    """
    return load_fleet(settings.directory, **await _inventory(settings, fleet))


async def load_hosts(settings: WorkspaceSettings) -> Inventory:
    """The same without reading gpurec's keys, so that any Ansible inventory can be shown."""
    return load_inventory(settings.directory, **await _inventory(settings))


class _NamedInventory(TypedDict):
    fleet: str | None
    inventory: tuple[Path, ...]
    allow_outside_links: bool
    printed: dict[Path, bytes]


async def _inventory(settings: WorkspaceSettings, fleet: str | None = None) -> _NamedInventory:
    printed = await printed_inventories(settings)
    return _NamedInventory(
        fleet=fleet or settings.fleet, inventory=settings.inventory, allow_outside_links=settings.allow_outside_links, printed=printed
    )


def warn_of_access(store: Store, report: Reporter) -> None:
    """Reports that others than this user may write a state."""
    if store.file is not None and (sentence := unsafe_sentence(store.file)) is not None:
        report(StateWarning(sentence))


def state_of(settings: WorkspaceSettings, workspace: Workspace) -> Store:
    """The state of `--state`, or the workspace's own. Raises OtherFleet for the state of another fleet."""
    return fleet_state(settings, workspace.name)


def fleet_state(settings: WorkspaceSettings, fleet: str) -> Store:
    """The same for a fleet that has no desired state yet."""
    return _of_fleet(settings, _store(settings, fleet), fleet)


def find_state(settings: WorkspaceSettings, *, any_fleet: bool = False) -> Store:
    """The same without reading any of the workspace's files, so that the state can be looked after while they are wrong.

    A state that `--state` names may be of any fleet, as long as the command names none. `any_fleet`: whatever it names.
    """
    fleet: str | None = None
    if settings.state is None:
        fleet = _fleet_of_files(settings)
    elif settings.fleet is not None or settings.inventory:
        fleet = fleet_name(settings.directory, settings.fleet, settings.inventory, settings.desired)
    store = _store(settings, fleet)
    return store if any_fleet else _of_fleet(settings, store, fleet)


def may_make_folder(settings: WorkspaceSettings, store: Store) -> bool:
    """Whether the folder of the state may be made: with `--state-new`, and the one that every fresh clone of a workspace lacks."""
    own = store.file is not None and store.file.parent == settings.path(STATE)
    return settings.state_new or (own and settings.directory.is_dir())


def _of_fleet(settings: WorkspaceSettings, store: Store, fleet: str | None) -> Store:
    unnamed = settings.inventory if settings.fleet is None else ()
    store.check_fleet(fleet, inventory_name(settings.directory, unnamed))
    return store


def _store(settings: WorkspaceSettings, fleet: str | None) -> Store:
    """`fleet` None: the command says none."""
    if settings.state is not None:
        return open_state(settings.state, settings.directory, fleet or clear_fleet(settings), settings.path(STATE))
    return SqliteStore(state_path_of(settings.directory, fleet or _fleet_of_files(settings)))


def clear_fleet(settings: WorkspaceSettings) -> str | None:
    """The fleet of the files here, where they leave no doubt: a database holds several."""
    try:
        return _fleet_of_files(settings)
    except GpurecError:
        return None


def _fleet_of_files(settings: WorkspaceSettings) -> str:
    root = settings.directory
    return find_state_path(root, fleet=settings.fleet, inventory=settings.inventory, desired=settings.desired).stem
