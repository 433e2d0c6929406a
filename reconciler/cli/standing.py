"""Bare `gpurec` in a workspace: where one stands, and the next command. Reads files and the state, asks no node."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import click

from reconciler.cli.settings import Settings

if TYPE_CHECKING:
    from reconciler.state import RunRecord
    from reconciler.workspace import Workspace


def is_workspace(settings: Settings) -> bool:
    return bool(settings.inventory) or (settings.directory / "inventories").is_dir()


def show_standing(settings: Settings) -> None:
    """Raises GpurecError for files and a state that cannot be read."""
    from reconciler.cli.running import run
    from reconciler.fleet import GpurecError
    from reconciler.operations.workspace import load, state_of
    from reconciler.workspace.selection import fleets

    names = fleets(settings.directory)
    if settings.fleet is None and not settings.inventory and len(names) > 1 and "default" not in names:
        click.echo(f"A workspace of {len(names)} fleets: {', '.join(names)}\nNext: gpurec --fleet {names[0]}")
        return
    try:
        workspace = run(settings, lambda report: load(settings, report))
    except GpurecError:
        settings.say("The files of this workspace are not right yet. Next: mend them, then gpurec validate")
        raise
    with closing(state_of(settings, workspace).reader()) as state:
        runs, serial = state.runs(1), state.applied().serial
    click.echo("\n".join(_lines(workspace, runs[0] if runs else None, serial)))


def _lines(workspace: Workspace, last: RunRecord | None, serial: int) -> list[str]:
    from reconciler.views import escape
    from reconciler.views.style import plural

    nodes = workspace.fleet.nodes.values()
    engines = sum(len(node.engines) for node in nodes)
    lines = [
        f"Fleet {escape(workspace.name)}: {plural(len(nodes), 'node')}, {plural(engines, 'engine')}, "
        f"{plural(len(workspace.desired.models), 'model')} wanted"
    ]
    if last is None and not workspace.desired.wanted and not workspace.desired.sections:
        return [*lines, "Next: write what is wanted into the desired state, then gpurec plan"]
    if last is None:
        return [*lines, "Nothing was applied yet.", "Next: gpurec plan, then gpurec apply"]
    lines.append(
        f"Last run {last.id} ({escape(last.command.split(' ')[0])}) at {escape(last.started_at)}: {escape(last.result)}, serial {serial}"
    )
    if last.config_digest and last.config_digest != workspace.config_digest:
        return [*lines, "The files were changed since.", "Next: gpurec plan"]
    if last.result != "done":
        return [*lines, "Next: gpurec plan shows what is left, gpurec status what stands"]
    return [*lines, "Next: gpurec drift shows what changed since, gpurec status what stands"]
