"""`gpurec history`: earlier runs, one run with its steps, and what was seen of cards and models."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import click

from reconciler.cli.global_options import global_options
from reconciler.cli.options import MOST_COUNT, format_option, past_option
from reconciler.cli.settings import settings_of

if TYPE_CHECKING:
    from reconciler.cli.settings import Settings
    from reconciler.state import RunRecord, Store
    from reconciler.views import RunRow


DAY = 86400.0


@click.command("history")
@click.argument("run", required=False, type=click.IntRange(1, MOST_COUNT))
@click.option("--last", type=click.IntRange(1, MOST_COUNT), default=20, show_default=True, help="How many runs.")
@click.option("--facts", is_flag=True, help="What gpurec watch and gpurec serve saw of cards and models, instead of runs.")
@click.option("--card", metavar="NODE/GPU", help="With --facts: of this card alone.")
@click.option("--model", metavar="ADDR", help="With --facts: of this model alone, such as model.NAME@NODE/ENGINE.")
@past_option
@format_option
@global_options
@click.pass_context
def command(
    context: click.Context, run: int | None, last: int, facts: bool, card: str | None, model: str | None, since: float | None, format_: str
) -> None:
    """Show earlier runs: what, who, when, how long, and how they ended; RUN with every step of it. With --facts, how cards and models
    were."""
    import json
    from dataclasses import asdict

    from reconciler.cli.state_file import find_state
    from reconciler.fleet import StateError
    from reconciler.views import RunStep, history_text, run_text

    settings = settings_of(context)
    store = find_state(settings)
    if facts:
        if run is not None or (card is not None and model is not None):
            raise click.UsageError("--facts goes with --card or with --model, and with no RUN.")
        _show_facts(settings, store, card, model, DAY if since is None else since, format_)
        return
    if card is not None or model is not None or since is not None:
        raise click.UsageError("--card, --model and --since go with --facts.")
    with closing(store.reader()) as state:
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
        raise StateError.of(f"there was no run {run}", str(store), "see gpurec history")
    if format_ == "json":
        journal = [{name: value for name, value in asdict(step).items() if name != "run_id"} for step in steps]
        click.echo(json.dumps({**asdict(one), "journal": journal}, indent=2))
        return
    rows = [RunStep(step.address, step.action, step.status.value, step.reason, step.seconds) for step in steps]
    click.echo(run_text(_row(one), rows, colour=settings.colour(), width=settings.width()), nl=False)


def _show_facts(settings: Settings, store: Store, card: str | None, model: str | None, since: float, format_: str) -> None:
    from reconciler.operations.past import read_past
    from reconciler.views.past_text import past_json, past_text

    past = read_past(store, since, card=card, model=model)
    if format_ == "json":
        click.echo(past_json(store.fleet if settings.fleet is None else settings.fleet, past.since, past.frames), nl=False)
        return
    single = card is not None or model is not None
    click.echo(past_text(past.frames, single=single, colour=settings.colour(), width=settings.width()), nl=False)


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
