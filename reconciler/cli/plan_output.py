"""Showing a plan that was just made, and keeping it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from reconciler.cli.options import View
from reconciler.cli.settings import Settings

if TYPE_CHECKING:
    from reconciler.planning import Plan


def show_plan(settings: Settings, plan: Plan, out: Path | None, view: View, detailed_exitcode: bool) -> int:
    """Writes it to `out`, shows it, and returns the exit status. Raises GuardRefused, once it is shown, where a guard refuses it."""
    from reconciler.cli.running import uncollected
    from reconciler.operations.exit_status import Command, exit_status, of_plan
    from reconciler.operations.plan_file import save_plan
    from reconciler.operations.saved_plan_checks import check_guards

    if out is not None:
        save_plan(settings.path(out), plan)
    with uncollected():
        text = as_text(settings, plan, view)
    click.echo(text, nl=False)
    if out is not None:
        kept = settings.path(out).is_file()  # nothing can be read again from a pipe or a device
        settings.say(
            f"Saved to {out}.{f' To carry out just this: gpurec apply {out}' if plan.steps else ''}" if kept else f"Written to {out}."
        )
    check_guards(plan)
    return exit_status(Command.PLAN_DETAILED if detailed_exitcode else Command.PLAN, of_plan(plan))


def as_text(settings: Settings, plan: Plan, view: View) -> str:
    """The plan in the format that was asked for."""
    from reconciler.views import Detail, plan_json, plan_text

    match view.format:
        case "json":
            return plan_json(plan)
        case "markdown":
            from reconciler.views.markdown import plan_markdown

            return plan_markdown(plan, view.max_bytes)
        case "html":
            from reconciler.views.html import plan_html

            return plan_html(plan)
        case _:
            return plan_text(plan, colour=settings.colour(), width=settings.width(), detail=Detail(view.detail))
