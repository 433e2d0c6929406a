"""`gpurec history`: earlier runs, and one run with its steps."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import click

from reconciler.cli.global_options import global_options
from reconciler.cli.options import MOST_COUNT, format_option
from reconciler.cli.settings import settings_of

if TYPE_CHECKING:
    from reconciler.state import RunRecord
    from reconciler.views import RunRow


@click.command("history")
@click.argument("run", required=False, type=click.IntRange(1, MOST_COUNT))
@click.option("--last", type=click.IntRange(1, MOST_COUNT), default=20, show_default=True, help="How many runs.")
@format_option
@global_options
@click.pass_context
def command(context: click.Context, run: int | None, last: int, format_: str) -> None:
    """Show earlier runs: what, who, when, how long, and how they ended; RUN with every step of it."""
    import json
    from dataclasses import asdict

    from reconciler.cli.state_file import find_state
    from reconciler.fleet import StateError
    from reconciler.state import open_reader
    from reconciler.views import RunStep, history_text, run_text

    settings = settings_of(context)
    path = find_state(settings)
    with closing(open_reader(path)) as state:
        runs = state.runs(last) if run is None else ()
        one = state.run(run) if run is not None else None
        steps = state.journal(run) if run is not None else ()
    if run is None:
        if format_ == "json":
            click.echo(json.dumps([asdict(each) for each in runs], indent=2))
        else:
            click.echo(history_text([_row(each) for each in runs], colour=settings.colour(), width=settings.width()), nl=False)
        return
    if one is None:
        raise StateError.of(f"there was no run {run}", str(path), "see gpurec history")
    if format_ == "json":
        journal = [{name: value for name, value in asdict(step).items() if name != "run_id"} for step in steps]
        click.echo(json.dumps({**asdict(one), "journal": journal}, indent=2))
        return
    rows = [RunStep(step.address, step.action, step.status.value, step.reason, step.seconds) for step in steps]
    click.echo(run_text(_row(one), rows, colour=settings.colour(), width=settings.width()), nl=False)


def _row(run: RunRecord) -> RunRow:
    from reconciler.views import RunRow

    return RunRow(
        run=run.id,
        serial=run.serial,
        started_at=run.started_at,
        who=f"{run.who}@{run.host}",
        result=run.result,
        command=run.command,
        plan_digest=run.plan_digest,
        seconds=run.seconds,
        steps=run.steps,
        unplaced=run.unplaced,
        deferred=run.deferred,
        ci=run.ci,
    )
