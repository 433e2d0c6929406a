"""`gpurec doctor`: what is wrong with nodes, drivers, engines and the state, and what to do about it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from reconciler.cli.options import format_option, probing_line
from reconciler.cli.settings import global_options, settings_of

if TYPE_CHECKING:
    from reconciler.health import Finding

WRONG = 1


@click.command("doctor")
@click.argument("node", required=False)
@format_option
@global_options
@click.pass_context
def command(context: click.Context, node: str | None, format_: str) -> int:
    """Find what is wrong with the fleet, or with NODE (a host or a pattern), each with what mends it; changes nothing. Exit 1 when there is
    an error, 0 when there are only warnings."""
    import json

    from reconciler.health import Level, find
    from reconciler.operations.observation import take_look
    from reconciler.views import doctor_document, doctor_text

    settings = settings_of(context)
    with probing_line(settings) as on_node:
        look = take_look(settings, on_node=on_node)
    only = None if node is None else frozenset(look.workspace.inventory.match(node))
    fleet = look.workspace.fleet
    findings = find(fleet, look.workspace.desired, look.facts, look.plan, look.recorded, only)
    if only is None:
        findings = (*findings, *_of_state(look.state))
    seen = [one for name, one in look.facts.nodes.items() if only is None or name in only]
    if format_ == "json":
        click.echo(json.dumps(doctor_document(findings, look.facts.at), indent=2))
    else:
        nodes, engines = len(seen), sum(len(one.engines) for one in seen)
        looked_at = f"{nodes:,} node{'' if nodes == 1 else 's'} and {engines:,} engine{'' if engines == 1 else 's'}"
        click.echo(doctor_text(findings, looked_at, colour=settings.colour(), width=settings.width()), nl=False)
    return WRONG if any(one.level is Level.ERROR for one in findings) else 0


def _of_state(path: Path) -> list[Finding]:
    """What `state check` finds, and of a fleet without a state yet what is wrong with this Python's SQLite."""
    from reconciler.health import Finding, Level
    from reconciler.state.check import Level as StateLevel
    from reconciler.state.check import check_sqlite, check_state

    levels = {StateLevel.ERROR: Level.ERROR, StateLevel.WARNING: Level.WARNING}
    looked = check_state(path) if path.exists() else [check_sqlite()]
    return [
        Finding(
            levels[one.level], "sqlite_wal_reset" if one.name == "SQLite" else "state", f"state.{one.name}", one.message, one.hint or ""
        )
        for one in looked
        if one.level in levels
    ]
