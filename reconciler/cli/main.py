"""The command `gpurec`: finds the command's module and imports only that, and turns every failure into one sentence and an exit status."""

from __future__ import annotations

import gc
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import click

from reconciler.cli.global_options import global_options
from reconciler.cli.groups import CommandGroup, in_our_words
from reconciler.cli.settings import Settings, tell
from reconciler.cli.signals import interrupt, on_end_signal

COMMANDS: dict[str, tuple[str, str]] = {
    "init": ("init", "Make a new workspace that plans as it stands."),
    "validate": ("validate", "Read all files and ask no node."),
    "plan": ("plan", "Show what would change; changes nothing."),
    "show": ("show", "Show a saved plan again."),
    "diff": ("diff", "Show two saved plans against each other."),
    "comment": ("comment", "Keep a plan or the drift as one comment of a pull request."),
    "apply": ("apply", "Carry a plan out."),
    "rollback": ("rollback", "Plan the way back to what was applied at a serial."),
    "drift": ("drift", "Compare the fleet with what was last applied."),
    "watch": ("watch", "Look again and again, and keep the fleet as it should be."),
    "serve": ("serve", "The same with an HTTP API, metrics and a page."),
    "inventory": ("inventory", "Show the resolved inventory."),
    "import": ("import_", "Write desired YAML for what runs on the fleet."),
    "pin": ("pin", "Write the lock file: which weights each name stands for."),
    "status": ("status", "Show how the fleet stands."),
    "facts": ("facts", "Show what probing sees."),
    "doctor": ("doctor", "Find what is wrong, and what mends it."),
    "models": ("models", "Show what models need, and how we know."),
    "check": ("check", "Show how many bytes a model takes, and where it fits."),
    "render": ("render", "Write the files of `files:` into a folder."),
    "template": ("template", "List or copy the built-in templates."),
    "explain": ("explain", "Why a resource is where it is, and not elsewhere."),
    "route": ("route", "Where a request for a model should go now."),
    "bench": ("bench", "Measure how fast a resident model is."),
    "top": ("top", "Watch cards and models live."),
    "schema": ("schema", "Print a JSON Schema, for editors."),
    "state": ("state", "List, show, forget, back up, restore, check."),
    "lock": ("lock", "Show or break the lock of the state."),
    "history": ("history", "Show earlier applies, and how cards and models were."),
    "forecast": ("forecast", "Show how full cards will be, by their history."),
    "demo": ("demo", "Plan, apply, break and repair an embedded fleet."),
    "tutorial": ("tutorial", "The demo, with a pause before each command."),
    "sim": ("sim", "Serve a simulated fleet."),
}
INTERRUPTED = 130
CLOSED_PIPE = 141
"""What a shell shows of a program that ended because nobody reads its output any more (128 + SIGPIPE)."""


class Commands(CommandGroup):
    """A group that imports a command's module only when the command is used, so that `--help` stays quick."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        import importlib

        command = getattr(importlib.import_module(f"reconciler.cli.commands.{COMMANDS[cmd_name][0]}"), "command")  # noqa: B009
        return command if isinstance(command, click.Command) else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> Any:
        """Runs the command; silently at an end when what reads the output (`| head`) is gone."""
        try:
            status = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:
            _give_output_up()
            ctx.exit(CLOSED_PIPE)
        except KeyboardInterrupt:
            raise click.Abort from None  # before click says so on a terminal that may be gone
        return status

    def main(self, args: Sequence[str] | None = None, prog_name: str | None = None, *_: Any, **extra: Any) -> NoReturn:
        """Runs and exits: 0 to 7 as each command says, 1 for wrong usage too, 130 when interrupted."""
        for name in ("complete_var", "standalone_mode", "windows_expand_args"):
            extra.pop(name, None)
        settings = extra.setdefault("obj", Settings())
        try:
            with on_end_signal(interrupt):
                status = super().main(args, prog_name or "gpurec", standalone_mode=False, **extra)
        except click.ClickException as error:
            in_our_words(error, sys.argv[1:] if args is None else args).show()
            sys.exit(1)
        except click.Abort:
            tell("Interrupted.")
            sys.exit(INTERRUPTED)
        except Exception as error:  # noqa: BLE001  the edge: whatever is raised becomes a sentence and a status
            from reconciler.cli.failure import report

            status = report(error, settings.verbose)
            _flush_or_give_up()
            sys.exit(status)
        sys.exit(status if isinstance(status, int) else 0)


def _flush_or_give_up() -> None:
    try:
        sys.stdout.flush()
    except OSError:
        _give_output_up()


def _give_output_up() -> None:
    """Sends what is still in the buffer of stdout nowhere: otherwise Python tries again at its end, complains and takes another status."""
    import os

    try:
        descriptor = sys.stdout.fileno()
    except (OSError, ValueError):
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)


@click.command(
    cls=Commands,
    invoke_without_command=True,
    context_settings={"auto_envvar_prefix": "GPUREC", "help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@global_options
@click.version_option(package_name="gpurec", prog_name="gpurec")
@click.pass_context
def cli(context: click.Context) -> None:
    """Plan and apply for GPU inference fleets: say which models are to be resident where, see what would change, change just that. Without
    a command, in a workspace: where it stands, and the next command."""
    if context.invoked_subcommand is not None:
        return
    from reconciler.cli.settings import settings_of
    from reconciler.cli.standing import is_workspace, show_standing

    if not is_workspace(settings_of(context)):
        raise click.exceptions.NoArgsIsHelpError(context)
    show_standing(settings_of(context))


def main() -> NoReturn:
    """The entry point of the command line."""
    gc.set_threshold(10_000)  # nothing that is imported is garbage: looking for some every 700 objects takes a twentieth of a start
    _open_closed_streams()
    cli.main()


def _open_closed_streams() -> None:
    """Takes a standard stream that is closed (`<&-`, `>&-`) for an empty one. Otherwise Python has None in its place, and the next file
    that is opened, the state perhaps, gets its number and with it what is meant for the stream."""
    import os

    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        try:
            os.fstat(number)
        except OSError:
            nowhere = os.open(os.devnull, os.O_RDWR)
            if nowhere != number:
                os.dup2(nowhere, number)
                os.close(nowhere)
            setattr(sys, name, os.fdopen(number, mode, closefd=False))


if __name__ == "__main__":
    main()
