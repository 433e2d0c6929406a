"""The question before a fresh plan is carried out, or before something else that cannot be taken back."""

from __future__ import annotations

import click

from reconciler.fleet import GpurecError


def approve(*, auto_approve: bool, terminal: bool) -> bool:
    """True when the plan may be carried out.

    Asks on a terminal, where only `yes` is a yes; elsewhere a GpurecError says that --auto-approve or a saved plan is needed.
    """
    if auto_approve:
        return True
    if not terminal:
        raise GpurecError.of(
            "there is no terminal to ask on, so nothing was applied",
            None,
            "use gpurec apply --auto-approve, or gpurec plan --out FILE and gpurec apply FILE",
        )
    click.echo("\nDo you want to carry out these steps? Only 'yes' is accepted.", err=True)
    answer: str = click.prompt("Answer", default="", show_default=False, err=True)
    return answer.strip() == "yes"


def confirm(question: str, *, yes: bool, terminal: bool, advice: str) -> bool:
    """True when what `question` asks may be done: asked on a terminal, where only `yes` is a yes; elsewhere `yes` must be said already,
    and a GpurecError says so with `advice`."""
    if yes:
        return True
    if not terminal:
        raise GpurecError.of("there is no terminal to ask on, so nothing was done", None, advice)
    click.echo(f"{question} Only 'yes' is accepted.", err=True)
    answer: str = click.prompt("Answer", default="", show_default=False, err=True)
    return answer.strip() == "yes"
