"""`gpurec import`: desired YAML for what runs on the fleet."""

from __future__ import annotations

import os
from pathlib import Path

import click

from reconciler.cli.global_options import global_options
from reconciler.cli.settings import Settings, settings_of

MOST_WARNINGS = 20
MOST_LEFT = 1000
FORMATS = ("llama-swap", "litellm", "compose", "router", "instances")
"""The keys of `conversion.FORMATS`, which is not imported for `--help`; a test holds them together."""


@click.command("import", short_help="Write desired YAML for what runs on the fleet.")
@click.option("--out", metavar="FILE", type=click.Path(path_type=Path), help="Write to FILE instead of stdout; overwrites nothing.")
@click.option("--force", is_flag=True, help="Overwrite FILE.")
@click.option(
    "--from",
    "source",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Write an inventory and a desired state for what FILE of another tool says, and ask no node; overwrites nothing.",
)
@click.option("--own", is_flag=True, help="Write inventory YAML instead, in which engines that run in containers are gpurec's own.")
@click.option("--overlay", is_flag=True, help="Write the agents instead that were allocated over HTTP (gpurec serve), and ask no node.")
@click.option("--format", "form", type=click.Choice(FORMATS), help="What FILE is, where its content does not tell.")
@global_options
@click.pass_context
def command(context: click.Context, out: Path | None, force: bool, source: Path | None, form: str | None, own: bool, overlay: bool) -> int:
    """Write desired YAML for what runs on the fleet: needs only the inventory, and changes no state and no node. The first plan after it
    only adopts, the plan after its apply is empty. Exit 4 when an engine cannot be reached: what it has is left out.

    With --own it writes an inventory for what its nodes' Docker Engines run: a file to put beside the one there is, in the folder of the
    inventory. The first plan after it only adopts; no container is made anew.

    With --overlay it writes a file to put beside the desired state there is: the plan after it is the same as before.

    With --from it needs no workspace: it reads a file of llama-swap or LiteLLM. For each thing that could not be carried over it says where
    that stands, and why."""
    if source is not None:
        if out is not None or force or own or overlay:
            raise click.UsageError(
                "--from writes inventories/FLEET.yaml and desired/FLEET.yaml and overwrites nothing: "
                "leave out --out, --force, --own and --overlay"
            )
        _from_file(settings_of(context), source, form)
        return 0
    if form is not None:
        raise click.UsageError("--format says what the file of --from is: add --from FILE")
    if own and overlay:
        raise click.UsageError("--own writes an inventory and --overlay a desired state; give one of them.")
    if own or overlay:
        (_owned if own else _overlay)(settings_of(context), out, force)
        return 0
    from reconciler.cli.running import run
    from reconciler.files import write_file
    from reconciler.operations.exit_status import Command, exit_status, of_facts
    from reconciler.operations.importing import import_running
    from reconciler.operations.new_files import schema_file, schema_line, write_missing
    from reconciler.views import desired_text, escape
    from reconciler.workspace import DESIRED

    settings = settings_of(context)
    fleet = run(settings, lambda report: import_running(settings, report))
    found = fleet.found
    text = desired_text(found, fleet.fleet, fleet.facts.at)
    if out is None:
        click.echo(text, nl=False)
    else:
        file = settings.path(out)
        below = _below(settings.directory, file)
        whole = text if below is None else schema_line(below, "desired") + text
        write_file(file, whole, overwrite=force, new_folders=file.parent == settings.path(DESIRED))
        if below is not None:
            write_missing(settings.directory, dict([schema_file("desired")]), settings.workspace_only())
        settings.say(f"Wrote {out}: {len(found.models):,} models. To see what it comes to: gpurec plan")
    for one in found.left_out[:MOST_WARNINGS]:
        settings.say(f"Warning: {escape(one.what)} is left out: {escape(one.why)}")
    if len(found.left_out) > MOST_WARNINGS:
        settings.say(f"Warning: {len(found.left_out) - MOST_WARNINGS:,} more are left out; all of them stand in the comments of the file.")
    for step in found.left[:MOST_WARNINGS]:
        settings.say(f"Warning: a plan would still {step.action.value} {escape(step.address)}: {escape(step.reason.message)}")
    return exit_status(Command.LOOK, of_facts(fleet.facts))


def _owned(settings: Settings, out: Path | None, force: bool) -> None:
    from reconciler.cli.running import run
    from reconciler.files import write_file
    from reconciler.operations.owning import import_owned
    from reconciler.views import escape, owned_text
    from reconciler.views.style import plural

    found = run(settings, lambda report: import_owned(settings, report))
    shown = MOST_WARNINGS
    if not found.nodes:
        why = "the reasons are below" if found.left_out else "it has none that somebody else starts"
        settings.say(f"Nothing to write: no engine of the inventory can become gpurec's own as it runs; {why}.")
        shown = len(found.left_out)
    else:
        text = owned_text(found.fleet, found.at, [(one.name, one.variables, one.engines) for one in found.nodes], found.left_out)
        if out is None:
            click.echo(text, nl=False)
        else:
            write_file(settings.path(out), text, overwrite=force)
            engines = sum(len(one.engines) for one in found.nodes)
            settings.say(f"Wrote {out}: {plural(engines, 'engine')}. To see what it comes to: gpurec plan")
    for one in found.left_out[:shown]:
        settings.say(f"Warning: {escape(one.what)} is left out: {escape(one.why)}")
    if len(found.left_out) > shown:
        settings.say(f"Warning: {len(found.left_out) - shown:,} more are left out; all of them stand in the comments of the file.")


def _overlay(settings: Settings, out: Path | None, force: bool) -> None:
    from reconciler.cli.running import run
    from reconciler.files import write_file
    from reconciler.operations.allocating import overlay_of
    from reconciler.views import overlay_text
    from reconciler.views.style import plural

    found = run(settings, lambda report: overlay_of(settings, report))
    text = overlay_text(found.fleet, found.agents)
    if out is None:
        click.echo(text, nl=False)
        return
    write_file(settings.path(out), text, overwrite=force)
    settings.say(f"Wrote {out}: {plural(len(found.agents), 'agent')}. To see what it comes to: gpurec plan")


def _below(root: Path, file: Path) -> Path | None:
    """The path of a file below the workspace; None where it is elsewhere, or is a pipe or a device."""
    root, file = Path(os.path.normpath(root.absolute())), Path(os.path.normpath(file.absolute()))
    return file.relative_to(root) if file.is_relative_to(root) and (file.is_file() or not file.exists()) else None


def _from_file(settings: Settings, source: Path, form: str | None) -> None:
    from reconciler.operations.converting import convert_file
    from reconciler.views import escape
    from reconciler.views.style import plural

    written = convert_file(settings, source, form)
    found = written.found
    settings.say(f"Wrote {written.inventory}: {plural(found.engines, 'engine')}")
    settings.say(f"Wrote {written.desired}: {plural(found.models, 'model')}")
    for one in found.not_carried[:MOST_LEFT]:
        settings.say(f"{escape(one.where.file)}:{one.where.line}: {escape(one.key)}: {escape(one.reason)}")
    if len(found.not_carried) > MOST_LEFT:
        settings.say(f"{len(found.not_carried) - MOST_LEFT:,} more are not carried over.")
    fleet = "" if written.fleet == "default" else f" --fleet {written.fleet}"
    settings.say(f"Next: read both files, then gpurec validate{fleet}")
