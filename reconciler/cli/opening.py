"""Which files and which state a command is about."""

from __future__ import annotations

from pathlib import Path

from reconciler.cli.settings import Settings
from reconciler.fleet import GpurecError
from reconciler.workspace import Workspace, load_workspace


def open_workspace(settings: Settings) -> Workspace:
    return load_workspace(
        settings.directory,
        fleet=settings.fleet,
        inventory=settings.inventory,
        desired=settings.desired,
    )


def state_path(settings: Settings, workspace: Workspace) -> Path:
    """The file of `--state`, or the workspace's own; only SQLite so far."""
    if settings.state is None:
        return workspace.state_path
    scheme, separator, rest = settings.state.partition("://")
    if not separator:
        return settings.path(settings.state)
    if scheme != "sqlite":
        raise GpurecError.of(f"a state of kind {scheme!r} cannot be opened yet", "--state", "write sqlite:///PATH or a path")
    return settings.path(rest.removeprefix("/")) if not rest.startswith("//") else Path(rest[1:])
