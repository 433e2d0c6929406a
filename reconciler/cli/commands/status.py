"""`gpurec status`: how the fleet stands now."""

from __future__ import annotations

import click

from reconciler.cli.options import format_option, probing_line
from reconciler.cli.settings import global_options, settings_of

UNREACHABLE = 4


@click.command("status")
@format_option
@global_options
@click.pass_context
def command(context: click.Context, format_: str) -> int:
    """Show how the fleet stands: models, cards, what is left to do. Changes nothing. Exit 4 when an engine cannot be reached."""
    import json

    from reconciler.health import find, holders_by_card, replicas_of
    from reconciler.operations.observation import take_look
    from reconciler.views import status_document, status_text

    settings = settings_of(context)
    with probing_line(settings) as on_node:
        look = take_look(settings, on_node=on_node)
    replicas = replicas_of(look.plan, look.facts, look.applied)
    findings = find(look.workspace.fleet, look.workspace.desired, look.facts, look.plan, look.recorded)
    holders = holders_by_card(look.workspace.fleet, look.facts)
    if format_ == "json":
        click.echo(json.dumps(status_document(look.plan, look.facts, replicas, findings, holders), indent=2))
    else:
        text = status_text(look.plan, look.facts, replicas, findings, holders, colour=settings.colour(), width=settings.width())
        click.echo(text, nl=False)
    silent = any(not engine.reachable for node in look.facts.nodes.values() for engine in node.engines.values())
    return UNREACHABLE if silent else 0
