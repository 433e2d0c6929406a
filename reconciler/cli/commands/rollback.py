"""`gpurec rollback`: the plan back to what was applied at an earlier serial."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import click

from reconciler.cli.options import format_option, print_warnings, probing_line
from reconciler.cli.settings import global_options, settings_of


@click.command("rollback", short_help="Plan the way back to what was applied at a serial.")
@click.argument("serial", type=click.IntRange(0))
@click.option("--out", metavar="FILE", type=click.Path(path_type=Path), help="Save the plan, for show and apply.")
@format_option
@click.option("--detailed-exitcode", is_flag=True, help="Exit 2 when changes are pending, 4 when something is unreachable.")
@global_options
@click.pass_context
def command(context: click.Context, serial: int, out: Path | None, format_: str, detailed_exitcode: bool) -> int:
    """Plan the way back to what was applied at SERIAL (see history); changes no state, no file and no node. `apply FILE` carries it out.
    The desired files stay as they are: until they say the same, the next plan leads forward again."""
    from dataclasses import replace

    from reconciler.cli.commands.plan import exit_status
    from reconciler.operations.observation import Choice, look_again, rolled_back
    from reconciler.operations.plan_file import save_plan
    from reconciler.operations.saved_plan_checks import check_guards
    from reconciler.operations.workspace import open_workspace, state_path
    from reconciler.state import open_reader
    from reconciler.views import escape, plan_json, plan_text

    settings = settings_of(context)
    workspace = open_workspace(settings)
    with closing(open_reader(state_path(settings, workspace))) as state:
        workspace, lost = rolled_back(workspace, state, serial)
    with probing_line(settings) as on_node:
        look = look_again(workspace, settings, Choice(), on_node=on_node)
    plan = replace(look.plan, rollback=serial)
    print_warnings(settings, workspace.warnings)
    for address in lost[:20]:
        settings.say(f"Warning: {escape(address)} was applied then, and its engine is not in the inventory now")
    if out is not None:
        save_plan(settings.path(out), plan)
    text = plan_json(plan) if format_ == "json" else plan_text(plan, colour=settings.colour(), width=settings.width())
    click.echo(text, nl=False)
    if out is not None:
        settings.say(f"Saved to {out}. To carry out just this: gpurec apply {out}")
    check_guards(plan)
    return exit_status(plan) if detailed_exitcode else 0
