"""`gpurec validate`: are the files right?"""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from reconciler.cli.global_options import global_options
from reconciler.cli.settings import Settings, settings_of

if TYPE_CHECKING:
    from reconciler.fleet import Problem
    from reconciler.operations.reporter import OperationEvent, Reporter
    from reconciler.workspace import Workspace

FORMS = ("github", "gitlab", "sarif")


@click.command("validate")
@click.option(
    "--format",
    "format_",
    type=click.Choice(["text", *FORMS]),
    default="text",
    show_default=True,
    help="github: annotations of a job; gitlab: a code quality report; sarif: SARIF 2.1.0.",
)
@global_options
@click.pass_context
def command(context: click.Context, format_: str) -> None:
    """Read all files of the workspace and say what is wrong with them; asks no node."""
    from reconciler.fleet import GpurecError
    from reconciler.views import validate_text

    settings = settings_of(context)
    warnings: list[Problem] = []
    try:
        workspace = _load(settings, warnings)
    except GpurecError as error:
        if format_ != "text":
            click.echo(_beside_lines(settings, format_, error.problems, warnings), nl=False)
        raise
    if format_ != "text":
        click.echo(_beside_lines(settings, format_, (), warnings), nl=False)
        return
    said = [problem.sentence() for problem in workspace.warnings]
    text = validate_text(workspace.fleet, workspace.desired, said, colour=settings.colour(), width=settings.width())
    click.echo(text, nl=False)


def _load(settings: Settings, warnings: list[Problem]) -> Workspace:
    from reconciler.cli.running import run
    from reconciler.fleet import WorkspaceError, same_servers
    from reconciler.operations.rendered import check_renders
    from reconciler.operations.reporter import FileWarning
    from reconciler.operations.workspace import load
    from reconciler.workspace import place_of

    async def loading(report: Reporter) -> Workspace:
        def follow(event: OperationEvent) -> None:
            if isinstance(event, FileWarning):
                warnings.append(event.problem)
            report(event)

        return await load(settings, follow)

    workspace = run(settings, loading)
    if shared := same_servers(workspace.fleet, partial(place_of, workspace.inventory)):
        raise WorkspaceError(*shared)
    check_renders(workspace)
    return workspace


def _beside_lines(settings: Settings, format_: str, errors: tuple[Problem, ...], warnings: list[Problem]) -> str:
    """The report in a forge's form, its paths below the folder that the forge checked out."""
    from reconciler import __version__
    from reconciler.views.problems import findings, problems_github, problems_gitlab, problems_sarif

    names = ("GITHUB_WORKSPACE", "CI_PROJECT_DIR", "BITBUCKET_CLONE_DIR")
    root = Path(next((os.environ[name] for name in names if os.environ.get(name)), ".")).absolute()

    def below(file: str) -> str | None:
        path = Path(os.path.normpath(settings.path(file).absolute()))
        return path.relative_to(root).as_posix() if path.is_relative_to(root) else None

    found = findings(errors, warnings)
    match format_:
        case "github":
            return problems_github(found, below)
        case "gitlab":
            return problems_gitlab(found, below)
        case _:
            return problems_sarif(found, below, __version__)
