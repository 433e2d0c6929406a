"""`gpurec drift`: what is not as it was last applied."""

from __future__ import annotations

import click

from reconciler.cli.looking import format_option, print_warnings, probing_line
from reconciler.cli.settings import global_options, settings_of

DRIFTED, UNREACHABLE = 2, 4


@click.command("drift")
@format_option
@global_options
@click.pass_context
def command(context: click.Context, format_: str) -> int:
    """Compare the fleet with what was last applied; changes nothing. Exit 2 when it differs."""
    import json

    from reconciler.cli.session import take_look
    from reconciler.views import drift_document, drift_text

    settings = settings_of(context)
    with probing_line(settings) as on_node:
        plan = (look := take_look(settings, on_node=on_node)).plan
    print_warnings(settings, look.workspace.warnings)
    if format_ == "json":
        click.echo(json.dumps(drift_document(plan), indent=2))
    else:
        click.echo(drift_text(plan, colour=settings.colour(), width=settings.width()), nl=False)
    if plan.drift:
        return DRIFTED
    return UNREACHABLE if plan.deferred else 0
