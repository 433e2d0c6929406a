"""`gpurec render`: the files of the fleet, written here and nowhere else."""

from __future__ import annotations

from pathlib import Path

import click
from click.core import ParameterSource

from reconciler.cli.global_options import global_options
from reconciler.cli.options import facts_options
from reconciler.cli.settings import settings_of


@click.command("render", short_help="Write the files of `files:` into a folder.")
@click.option("--to", metavar="DIR", type=click.Path(path_type=Path), default=Path("rendered"), show_default=True, help="The folder.")
@click.option("--check", is_flag=True, help="Only say whether all render, for the fleet as declared; asks no node, writes nothing.")
@facts_options
@global_options
@click.pass_context
def command(context: click.Context, to: Path, check: bool, refresh: bool, assume: Path | None) -> None:
    """Write every file that `files:` asks for, as it will be after the plan, to DIR/NODE/PATH (DIR/local/PATH for this machine). Changes no
    node and no state."""
    from reconciler.cli.running import run
    from reconciler.files import write_file
    from reconciler.fleet import GpurecError
    from reconciler.operations.observation import PlanOptions
    from reconciler.operations.rendered import render_as_declared, render_fleet
    from reconciler.rendering.secret import shown
    from reconciler.views import escape

    settings = settings_of(context)
    if check:
        found = run(settings, lambda report: render_as_declared(settings, report))
        settings.say(f"{len(found):,} {'file renders' if len(found) == 1 else 'files render'}.")
        return
    found = run(settings, lambda report: render_fleet(settings, PlanOptions(refresh=refresh, assume=assume), report))
    if not found:
        settings.say("Nothing to write: no file is asked for under `files:`.")
    base = settings.path(to)
    within = None if context.get_parameter_source("to") is ParameterSource.COMMANDLINE else settings.workspace_only()
    for one in found:
        path = base / one.node / one.path.lstrip("/")
        if ".." in path.relative_to(base).parts:
            raise GpurecError.of(f"{one.node} is no name of a folder", "--to", "rename the host")
        write_file(path, shown(one.text), mode=one.mode, new_folders=True, within=within)
        click.echo(escape(str(path), 4000))
