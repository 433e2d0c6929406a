"""`gpurec drift`: what is not as it was last applied."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from reconciler.cli.options import format_option, print_warnings, probing_line
from reconciler.cli.settings import global_options, settings_of

if TYPE_CHECKING:
    from reconciler.planning import DriftReport

DRIFTED, UNREACHABLE = 2, 4


@click.command("drift")
@format_option
@click.option("--since", metavar="RUN|TIME", help="Only what drifted after this run or time (2026-01-31T12:00:00Z).")
@click.option(
    "--in-a-row", type=click.IntRange(1), default=1, show_default=True, help="Only what this and the last runs all saw; needs --memory."
)
@click.option("--memory", metavar="FILE", type=click.Path(path_type=Path), help="Keeps between runs since when, and how often in a row.")
@global_options
@click.pass_context
def command(context: click.Context, format_: str, since: str | None, in_a_row: int, memory: Path | None) -> int:
    """Compare the fleet with what was last applied; changes no state and no node. Exit 2 when it differs, else 4 when something cannot be
    reached."""
    if in_a_row > 1 and memory is None:
        raise click.UsageError("--in-a-row counts runs, so it needs --memory FILE to keep the count in.")
    import json

    from reconciler.operations.drift import look_for_drift
    from reconciler.views import drift_document, drift_text

    settings = settings_of(context)
    with probing_line(settings) as on_node:
        look, report = look_for_drift(settings, since, in_a_row, memory, on_node)
    print_warnings(settings, look.workspace.warnings)
    if format_ == "json":
        click.echo(json.dumps(drift_document(report), indent=2))
    else:
        click.echo(drift_text(report, colour=settings.colour(), width=settings.width()), nl=False)
    return exit_status(report)


def exit_status(report: DriftReport) -> int:
    """2 for drift, else 4 when something could not be reached, else 0; what is pending decides nothing here."""
    if report.counted:
        return DRIFTED
    return UNREACHABLE if report.unreachable else 0
