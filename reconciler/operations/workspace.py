"""Which files and which state a command is about."""

from __future__ import annotations

from pathlib import Path

from reconciler.cli.settings import Settings
from reconciler.fleet import GpurecError
from reconciler.workspace import Workspace, find_state_path, load_workspace, state_path_of


def open_workspace(settings: Settings) -> Workspace:
    return load_workspace(
        settings.directory,
        fleet=settings.fleet,
        inventory=settings.inventory,
        desired=settings.desired,
    )


def state_path(settings: Settings, workspace: Workspace) -> Path:
    """The file of `--state`, or the workspace's own; only SQLite so far."""
    return _named_state(settings) or workspace.state_path


def fleet_state_path(settings: Settings, fleet: str) -> Path:
    """The same for a fleet that has no desired state yet."""
    return _named_state(settings) or state_path_of(settings.directory, fleet)


def find_state(settings: Settings) -> Path:
    """The same without reading any of the workspace's files, so that the state can be looked after while they are wrong."""
    named = _named_state(settings)
    if named is not None:
        return named
    return find_state_path(settings.directory, fleet=settings.fleet, inventory=settings.inventory, desired=settings.desired)


def _named_state(settings: Settings) -> Path | None:
    if settings.state is None:
        return None
    scheme, separator, rest = settings.state.partition("://")
    if not separator:
        return settings.path(settings.state)
    if scheme != "sqlite":
        raise GpurecError.of(f"a state of kind {scheme!r} cannot be opened yet", "--state", "write sqlite:///PATH or a path")
    return settings.path(rest.removeprefix("/")) if not rest.startswith("//") else Path(rest[1:])
