"""`gpurec validate`: are the files right?"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from reconciler.cli.global_options import global_options
from reconciler.cli.settings import Settings, settings_of

if TYPE_CHECKING:
    from reconciler.fleet import Problem
    from reconciler.operations.reporter import OperationEvent, Reporter
    from reconciler.views.problems import GradedProblem
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
@click.option(
    "--plan",
    "plan",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Not as text: say beside the lines also what this saved plan leaves unplaced, what refuses it, and what it could not reach.",
)
@global_options
@click.pass_context
def command(context: click.Context, format_: str, plan: Path | None) -> None:
    """Read all files of the workspace and say what is wrong with them; asks no node."""
    from reconciler.fleet import GpurecError
    from reconciler.views import validate_text
    from reconciler.views.problems import findings

    settings = settings_of(context)
    if plan is not None and format_ == "text":
        raise click.UsageError(f"--plan is for --format {', '.join(FORMS)}; as text a plan is shown by: gpurec show {plan}")
    warnings: list[Problem] = []
    try:
        workspace = _load(settings, warnings)
    except GpurecError as error:
        if format_ != "text":
            click.echo(_beside_lines(settings, format_, findings(error.problems, warnings)), nl=False)
        raise
    if format_ != "text":
        left = _of_plan(settings, plan, workspace) if plan is not None else []
        click.echo(_beside_lines(settings, format_, [*findings((), warnings), *left]), nl=False)
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


def _of_plan(settings: Settings, file: Path, workspace: Workspace) -> list[GradedProblem]:
    from reconciler.operations.plan_file import PlanFileError, read_plan
    from reconciler.views.problems import plan_findings
    from reconciler.workspace import place_of, wanted_place

    plan = read_plan(settings.path(file))
    if plan.fleet != workspace.name:
        raise PlanFileError.of(
            f"this is a plan of fleet {plan.fleet!r}, not of {workspace.name!r}", str(file), "name its fleet with --fleet"
        )
    return plan_findings(plan, partial(wanted_place, workspace.declared), partial(place_of, workspace.inventory))


def _beside_lines(settings: Settings, format_: str, found: Sequence[GradedProblem]) -> str:
    """The report in a forge's form, its paths below the folder that the forge checked out."""
    from reconciler import __version__
    from reconciler.views.problems import problems_github, problems_gitlab, problems_sarif

    names = ("GITHUB_WORKSPACE", "CI_PROJECT_DIR", "BITBUCKET_CLONE_DIR")
    root = Path(next((os.environ[name] for name in names if os.environ.get(name)), ".")).absolute()

    def below(file: str) -> str | None:
        path = Path(os.path.normpath(settings.path(file).absolute()))
        return path.relative_to(root).as_posix() if path.is_relative_to(root) else None

    match format_:
        case "github":
            return problems_github(found, below)
        case "gitlab":
            return problems_gitlab(found, below)
        case _:
            return problems_sarif(found, below, __version__)
