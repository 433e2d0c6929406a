"""Load: the files of a workspace, and where its state is."""

from __future__ import annotations

from pathlib import Path
from typing import TypedDict

from reconciler.fleet import Fleet, StateError
from reconciler.operations.inventory_program import printed_inventories
from reconciler.operations.reporter import FileWarning, Reporter, StateWarning, ignore
from reconciler.operations.settings import WorkspaceSettings
from reconciler.state import check_fleet, open_state, unsafe_sentence
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
    warn_of_access(_named_state(settings) or workspace.state_path, report)
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


def warn_of_access(path: Path, report: Reporter) -> None:
    """Reports that others than this user may write a state."""
    if (sentence := unsafe_sentence(path)) is not None:
        report(StateWarning(sentence))


def state_path(settings: WorkspaceSettings, workspace: Workspace) -> Path:
    """The file of `--state`, or the workspace's own; only SQLite so far. Raises OtherFleet for the state of another fleet."""
    return fleet_state_path(settings, workspace.name)


def fleet_state_path(settings: WorkspaceSettings, fleet: str) -> Path:
    """The same for a fleet that has no desired state yet."""
    return _of_fleet(settings, _named_state(settings) or state_path_of(settings.directory, fleet), fleet)


def find_state(settings: WorkspaceSettings, *, any_fleet: bool = False) -> Path:
    """The same without reading any of the workspace's files, so that the state can be looked after while they are wrong.

    A state that `--state` names may be of any fleet, as long as the command names none. `any_fleet`: whatever it names.
    """
    root, named = settings.directory, _named_state(settings)
    fleet: str | None = None
    if named is None:
        named = find_state_path(root, fleet=settings.fleet, inventory=settings.inventory, desired=settings.desired)
        fleet = named.stem
    elif settings.fleet is not None or settings.inventory:
        fleet = fleet_name(root, settings.fleet, settings.inventory, settings.desired)
    return named if any_fleet else _of_fleet(settings, named, fleet)


def may_make_folder(settings: WorkspaceSettings, path: Path) -> bool:
    """Whether the folder of the state may be made: with `--state-new`, and the one that every fresh clone of a workspace lacks."""
    return settings.state_new or (path.parent == settings.path(STATE) and settings.directory.is_dir())


def _of_fleet(settings: WorkspaceSettings, path: Path, fleet: str | None) -> Path:
    unnamed = settings.inventory if settings.fleet is None else ()
    check_fleet(path, fleet, inventory_name(settings.directory, unnamed))
    return path


def _named_state(settings: WorkspaceSettings) -> Path | None:
    if settings.state is None:
        return None
    file = open_state(settings.state, settings.directory).file
    if file is None:
        raise StateError.of("this command needs a state that is a file", "--state", "write sqlite:///PATH or a path")
    return file
