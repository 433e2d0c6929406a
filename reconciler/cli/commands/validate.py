"""`gpurec validate`: are the files right?"""

from __future__ import annotations

import click

from reconciler.cli.global_options import global_options
from reconciler.cli.settings import settings_of


@click.command("validate")
@global_options
@click.pass_context
def command(context: click.Context) -> None:
    """Read all files of the workspace and say what is wrong with them; asks no node."""
    from reconciler.cli.running import run
    from reconciler.fleet import WorkspaceError, same_servers
    from reconciler.operations.workspace import load
    from reconciler.views import validate_text

    settings = settings_of(context)
    workspace = run(settings, lambda _: load(settings))
    if shared := same_servers(workspace.fleet):
        raise WorkspaceError(*shared)
    warnings = [problem.sentence() for problem in workspace.warnings]
    text = validate_text(workspace.fleet, workspace.desired, warnings, colour=settings.colour(), width=settings.width())
    click.echo(text, nl=False)
