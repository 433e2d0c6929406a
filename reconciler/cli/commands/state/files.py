"""`gpurec state backup`, `restore` and `recover`: the state as files."""

from __future__ import annotations

from pathlib import Path

import click

from reconciler.cli.global_options import global_options
from reconciler.cli.options import format_option, lock_timeout_option
from reconciler.cli.settings import settings_of


@click.command("backup", short_help="Copy the state whole, also during an apply.")
@click.argument("file", required=False, type=click.Path(path_type=Path))
@format_option
@global_options
@click.pass_context
def backup(context: click.Context, file: Path | None, format_: str) -> None:
    """Copy the state to FILE (else beside it, named by the time), of one moment, also while an apply goes on."""
    import json
    from datetime import UTC, datetime

    from reconciler.cli.state_file import find_state
    from reconciler.state import file_of
    from reconciler.state.sqlite.copies import back_up, stamped
    from reconciler.views.escape import escape

    settings = settings_of(context)
    path = file_of(find_state(settings), "state backup", "back a database up with pg_dump, or copy it into a file: gpurec state copy")
    to = back_up(path, settings.path(file) if file is not None else stamped(path, "backup", datetime.now(UTC)))
    click.echo(json.dumps({"state": str(path), "file": str(to)}, indent=2) if format_ == "json" else escape(str(to), 4000))


@click.command("restore", short_help="Put back a backup, keeping what was there.")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="Also a backup of another state, or in the place of a damaged one.")
@lock_timeout_option
@format_option
@global_options
@click.pass_context
def restore(context: click.Context, file: Path, force: bool, lock_timeout: float, format_: str) -> None:
    """Put the state back to what FILE holds; the old one is kept beside it. Touches no node."""
    import json

    from reconciler.cli.state_file import find_state
    from reconciler.operations.workspace import may_make_folder
    from reconciler.state import file_of
    from reconciler.state.sqlite.copies import restore as put_back
    from reconciler.views.escape import escape

    settings = settings_of(context)
    store = find_state(settings)
    path = file_of(store, "state restore", "restore a database with pg_restore, or copy a file into an empty one: gpurec state copy")
    folder = may_make_folder(settings, store)
    done = put_back(path, settings.path(file), force=force, new_folder=folder, lock_timeout=lock_timeout)
    if format_ == "json":
        kept = None if done.kept is None else str(done.kept)
        click.echo(json.dumps({"state": str(path), "lineage": done.lineage, "serial": done.serial, "kept": kept}, indent=2))
        return
    click.echo(f"Restored serial {done.serial}." + (f" What was there is kept in {escape(str(done.kept), 4000)}" if done.kept else ""))
    settings.say("gpurec plan shows how the fleet differs from it.")


@click.command("recover", short_help="Read rescue journals in.")
@click.argument("files", metavar="[FILE…]", nargs=-1, type=click.Path(path_type=Path))
@lock_timeout_option
@format_option
@global_options
@click.pass_context
def recover(context: click.Context, files: tuple[Path, ...], lock_timeout: float, format_: str) -> None:
    """Read rescue journals into the state: those that wait beside it or in the folder for temporary files, or FILE. Touches no node."""
    import json

    from reconciler.cli.reporting import reporting
    from reconciler.cli.state_file import find_state
    from reconciler.operations.recovery import editing
    from reconciler.state import find_rescues, put_away, read_rescue, take_in
    from reconciler.views.escape import escape

    settings = settings_of(context)
    store = find_state(settings)
    rescued = [read_rescue(each) for each in ([settings.path(file) for file in files] or find_rescues(store.rescues))]
    serial: int | None = None
    if rescued:
        with reporting(settings) as report, editing(store, "state recover", lock_timeout, report) as state:
            serial = take_in(state, rescued)
    rows = [
        {"file": str(one.path), "run": one.head.run_id, "entries": len(one.entries), "torn": one.torn, "kept": str(put_away(one.path))}
        for one in rescued
    ]
    if format_ == "json":
        click.echo(json.dumps({"recovered": rows, "serial": serial}, indent=2))
        return
    for row in rows:
        torn = "; its last line was cut off and is left out: the next plan finds out by probing" if row["torn"] else ""
        click.echo(f"run {row['run']}: {row['entries']} entries taken in from {escape(str(row['file']), 4000)}{torn}")
    click.echo(f"Serial {serial}." if rows else "Nothing waits to be recovered.")
