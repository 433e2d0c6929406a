"""`gpurec facts`: what probing sees."""

from __future__ import annotations

from pathlib import Path

import click

from reconciler.cli.global_options import global_options
from reconciler.cli.options import format_option
from reconciler.cli.settings import settings_of


@click.command("facts")
@click.option("--out", metavar="FILE", type=click.Path(path_type=Path), help="Write the facts, for plan --assume.")
@format_option
@global_options
@click.pass_context
def command(context: click.Context, out: Path | None, format_: str) -> int:
    """Show what probing sees: engines, residents, cards. Exit 4 when an engine cannot be reached."""
    from reconciler.cli.running import run
    from reconciler.files import PRIVATE, write_file
    from reconciler.operations.exit_status import Command, exit_status, of_facts
    from reconciler.operations.observation import probe_workspace
    from reconciler.probes import facts_to_json
    from reconciler.views import facts_text

    settings = settings_of(context)
    facts = run(settings, lambda report: probe_workspace(settings, report))
    if out is not None:
        write_file(settings.path(out), facts_to_json(facts), mode=PRIVATE)
    text = facts_to_json(facts) if format_ == "json" else facts_text(facts, colour=settings.colour(), width=settings.width())
    click.echo(text, nl=not text.endswith("\n"))
    return exit_status(Command.LOOK, of_facts(facts))
