"""`gpurec facts`: what probing sees."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import click

from reconciler.cli.options import format_option, probing_line
from reconciler.cli.settings import global_options, settings_of

UNREACHABLE = 4


@click.command("facts")
@click.option("--out", metavar="FILE", type=click.Path(path_type=Path), help="Write the facts, for plan --assume.")
@format_option
@global_options
@click.pass_context
def command(context: click.Context, out: Path | None, format_: str) -> int:
    """Show what probing sees: engines, residents, cards. Exit 4 when an engine cannot be reached."""
    from reconciler.files import PRIVATE, write_file
    from reconciler.operations.observation import probe_facts
    from reconciler.operations.workspace import open_workspace, state_path
    from reconciler.probes import facts_to_json
    from reconciler.state import open_reader
    from reconciler.views import facts_text

    settings = settings_of(context)
    workspace = open_workspace(settings)
    with closing(open_reader(state_path(settings, workspace))) as state:
        applied = state.applied()
    with probing_line(settings) as on_node:
        facts = probe_facts(workspace, applied, on_node)
    if out is not None:
        write_file(settings.path(out), facts_to_json(facts), mode=PRIVATE)
    text = facts_to_json(facts) if format_ == "json" else facts_text(facts, colour=settings.colour(), width=settings.width())
    click.echo(text, nl=not text.endswith("\n"))
    silent = any(not engine.reachable for node in facts.nodes.values() for engine in node.engines.values())
    return UNREACHABLE if silent else 0
