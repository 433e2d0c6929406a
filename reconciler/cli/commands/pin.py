"""`gpurec pin`: the lock file, so that a name such as `:latest` does not move by itself."""

from __future__ import annotations

from contextlib import closing

import click

from reconciler.cli.options import probing_line
from reconciler.cli.settings import global_options, settings_of


@click.command("pin", short_help="Write the lock file: which weights each name stands for.")
@click.argument("models", metavar="[MODEL…]", nargs=-1)
@global_options
@click.pass_context
def command(context: click.Context, models: tuple[str, ...]) -> None:
    """Write desired/FLEET.lock.yaml with the weights that the engines have today, of all models or just of these. Changes no state and no
    node. Refuses where two engines have other weights of one model."""
    from reconciler.files import write_file
    from reconciler.fleet import GpurecError, Problem
    from reconciler.operations.observation import probe_facts
    from reconciler.operations.workspace import open_workspace, state_path
    from reconciler.planning import find_pins
    from reconciler.state import open_reader
    from reconciler.views import escape
    from reconciler.views.desired_text import lock_text
    from reconciler.workspace.problems import did_you_mean

    settings = settings_of(context)
    workspace = open_workspace(settings)
    known = {model.name: model for model in workspace.desired.models}
    for name in models:
        if name not in known:
            raise GpurecError.of(f"the desired state has no model {name!r}", None, did_you_mean(name, known))
    with closing(open_reader(state_path(settings, workspace))) as state:
        applied = state.applied()
    with probing_line(settings) as on_node:
        facts = probe_facts(workspace, applied, on_node)
    pins = find_pins(workspace.fleet, workspace.desired, facts, models)
    if pins.differing:
        hint = "pull the same weights on both, then pin again"
        raise GpurecError(
            *(
                Problem(
                    f"{escape(one.model)} is {one.first_digest} on {one.first} and {one.second_digest} on {one.second}",
                    None,
                    hint,
                )
                for one in pins.differing[:20]
            )
        )
    for at in pins.unreachable[:20]:
        settings.say(f"Warning: {escape(str(at))} cannot be reached, so what it has is not compared")
    kept = {name: digest for name, digest in workspace.lock.items() if name in known and name not in pins.digests}
    own = {name for name, model in known.items() if model.digest is not None and model.digest != workspace.lock.get(name)}
    digests = {name: digest for name, digest in {**kept, **pins.digests}.items() if name not in own}
    for name in pins.untold:
        still = "its pin stays" if name in digests else "it is not pinned"
        settings.say(f"Warning: no engine tells the weights of {escape(name)}; {still}")
    workspace.lock_path.parent.mkdir(exist_ok=True)
    write_file(workspace.lock_path, lock_text(digests))
    for name, digest in sorted(digests.items()):
        before = workspace.lock.get(name)
        if before != digest:
            click.echo(f"{escape(name)}  {digest}" if before is None else f"{escape(name)}  {before} → {digest}")
    settings.say(f"Wrote {escape(str(workspace.lock_path), 4000)}: {len(digests):,} of {len(known):,} models are pinned.")
