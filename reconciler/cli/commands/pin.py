"""`gpurec pin`: the lock file, so that a name such as `:latest` does not move by itself."""

from __future__ import annotations

import click

from reconciler.cli import completion
from reconciler.cli.global_options import global_options
from reconciler.cli.settings import settings_of


@click.command("pin", short_help="Write the lock file: which weights each name stands for.")
@click.argument("models", metavar="[MODEL…]", nargs=-1, shell_complete=completion.models)
@global_options
@click.pass_context
def command(context: click.Context, models: tuple[str, ...]) -> int:
    """Write desired/FLEET.lock.yaml with the weights that the engines have today, of all models or just of these. Changes no state and no
    node. Refuses where two engines have other weights of one model. Exit 4 when an engine that may have one of them cannot be reached:
    what it has is not compared."""
    from reconciler.cli.running import run
    from reconciler.files import write_file
    from reconciler.operations.exit_status import Command, exit_status, of_unreachable
    from reconciler.operations.pinning import find_weights
    from reconciler.views import escape
    from reconciler.views.desired_text import lock_text

    settings = settings_of(context)
    found = run(settings, lambda report: find_weights(settings, models, report))
    for at in found.unreachable[:20]:
        settings.say(f"Warning: {escape(str(at))} cannot be reached, so what it has is not compared")
    for name in found.untold:
        still = "its pin stays" if name in found.digests else "it is not pinned"
        settings.say(f"Warning: no engine tells the weights of {escape(name)}; {still}")
    write_file(found.path, lock_text(found.digests), new_folders=True, within=settings.workspace_only())
    for name, digest in sorted(found.digests.items()):
        before = found.before.get(name)
        if before != digest:
            click.echo(f"{escape(name)}  {digest}" if before is None else f"{escape(name)}  {before} → {digest}")
    settings.say(f"Wrote {escape(str(found.path), 4000)}: {len(found.digests):,} of {found.models:,} models are pinned.")
    return exit_status(Command.LOOK, of_unreachable(found.unreachable))
