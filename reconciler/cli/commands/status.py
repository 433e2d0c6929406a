"""`gpurec status`: how the fleet stands now."""

from __future__ import annotations

import click

from reconciler.cli.global_options import global_options
from reconciler.cli.options import format_option
from reconciler.cli.settings import settings_of


@click.command("status")
@format_option
@global_options
@click.pass_context
def command(context: click.Context, format_: str) -> int:
    """Show how the fleet stands: models, cards, what is left to do. Changes nothing. Exit 4 when an engine cannot be reached."""
    import json

    from reconciler.cli.running import run
    from reconciler.health import agents_of, holders_by_card
    from reconciler.operations.diagnosis import findings_of, standing_of
    from reconciler.operations.exit_status import Command, exit_status, of_facts
    from reconciler.operations.proposal import plan_fleet
    from reconciler.views import status_document, status_text

    settings = settings_of(context)
    seen = run(settings, lambda report: plan_fleet(settings, report=report))
    replicas = standing_of(seen)
    findings = findings_of(seen, replicas)
    holders = holders_by_card(seen.workspace.fleet, seen.facts, seen.plan)
    agents = agents_of(seen.plan, seen.resources, seen.applied)
    if format_ == "json":
        click.echo(json.dumps(status_document(seen.plan, seen.facts, replicas, findings, holders, agents), indent=2))
    else:
        text = status_text(seen.plan, seen.facts, replicas, findings, holders, agents, colour=settings.colour(), width=settings.width())
        click.echo(text, nl=False)
    return exit_status(Command.LOOK, of_facts(seen.facts))
