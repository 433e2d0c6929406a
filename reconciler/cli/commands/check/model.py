"""`gpurec check MODEL`: which engines and cards of the fleet hold a model, and what it takes there by term."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from reconciler.cli.commands.check.run_options import CheckOptions
from reconciler.cli.settings import Settings

if TYPE_CHECKING:
    from reconciler.placement import ContextSearch


def check_model(
    settings: Settings, name: str, way: CheckOptions, refresh: bool, assume: Path | None, format_: str, search: ContextSearch | None = None
) -> int:
    from reconciler.cli.running import run
    from reconciler.operations.exit_status import Command, exit_status, of_facts
    from reconciler.operations.needs import find_candidates
    from reconciler.operations.observation import PlanOptions
    from reconciler.views import candidates_json, candidates_text

    options, asked = PlanOptions(refresh=refresh, assume=assume), way.asked()
    found = run(settings, lambda report: find_candidates(settings, name, options, asked, way.context, search, report))
    if format_ == "json":
        text = candidates_json(found.question, found.candidates, found.wanted)
    else:
        text = candidates_text(found.question, found.candidates, found.wanted, colour=settings.colour(), width=settings.width())
    click.echo(text, nl=False)
    return exit_status(Command.LOOK, of_facts(found.facts))
