"""`gpurec doctor`: what is wrong with nodes, drivers, engines and the state, and what to do about it."""

from __future__ import annotations

import click

from reconciler.cli import completion
from reconciler.cli.global_options import global_options
from reconciler.cli.options import format_option
from reconciler.cli.settings import settings_of


@click.command("doctor")
@click.argument("node", required=False, shell_complete=completion.hosts)
@format_option
@global_options
@click.pass_context
def command(context: click.Context, node: str | None, format_: str) -> int:
    """Find what is wrong with the fleet, or with NODE (a host or a pattern), each with what mends it; changes nothing. Exit 1 when there is
    an error, 0 when there are only warnings."""
    import json

    from reconciler.cli.running import run
    from reconciler.operations.diagnosis import diagnose
    from reconciler.operations.exit_status import Command, exit_status, of_soundness
    from reconciler.views import doctor_document, doctor_text

    settings = settings_of(context)
    found = run(settings, lambda report: diagnose(settings, node, report))
    if format_ == "json":
        click.echo(json.dumps(doctor_document(found.findings, found.facts.at), indent=2))
    else:
        nodes, engines = found.nodes, found.engines
        looked_at = f"{nodes:,} node{'' if nodes == 1 else 's'} and {engines:,} engine{'' if engines == 1 else 's'}"
        click.echo(doctor_text(found.findings, looked_at, colour=settings.colour(), width=settings.width()), nl=False)
    return exit_status(Command.CHECK, of_soundness(found.sound))
