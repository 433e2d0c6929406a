"""A group of commands that names the nearest working word where it does not know one."""

from __future__ import annotations

from collections.abc import Sequence

import click

ELSEWHERE = {
    "converge": "apply",
    "delete": "state rm",
    "deploy": "apply",
    "describe": "state show",
    "destroy": "apply",
    "fmt": "validate",
    "force-unlock": "lock release",
    "get": "status",
    "graph": "show",
    "hosts": "inventory",
    "lint": "validate",
    "load": "apply",
    "log": "history",
    "logs": "history",
    "ls": "status",
    "move": "state mv",
    "new": "init",
    "nodes": "inventory",
    "output": "status",
    "preview": "plan",
    "probe": "facts",
    "ps": "status",
    "pull": "apply",
    "refresh": "facts",
    "remove": "state rm",
    "rm": "state rm",
    "run": "apply",
    "start": "apply",
    "stop": "apply",
    "sync": "apply",
    "taint": "apply --replace ADDR",
    "undo": "rollback",
    "unload": "apply",
    "unlock": "lock release",
    "up": "apply",
    "update": "apply",
    "upgrade": "apply",
}
"""What other tools call it, and how it is done here."""
UNLOADS = frozenset({"destroy", "stop", "unload"})
"""Of these the way leads over the files: what they no longer name is unloaded."""


class CommandGroup(click.Group):
    """Its error for an unknown command says which one was probably meant."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if not ctx.resilient_parsing and not name.startswith("-") and self.get_command(ctx, name) is None:
            ctx.fail(f"there is no command {name!r}; {self._advice(ctx, name)}")
        return super().resolve_command(ctx, args)

    def _advice(self, ctx: click.Context, name: str) -> str:
        from difflib import get_close_matches

        word = name.lower()
        near = get_close_matches(word, self.list_commands(ctx), 1, 0.6)
        if ctx.parent is not None or (near and word not in ELSEWHERE):
            path = ctx.command_path
            return f"did you mean: {path} {near[0]}" if near else f"{path} --help lists them"
        if word in UNLOADS:
            return "take the models out of the desired state, then: gpurec apply"
        return f"did you mean: gpurec {ELSEWHERE[word]}" if word in ELSEWHERE else "gpurec --help lists them"


def in_our_words(error: click.ClickException, args: Sequence[str]) -> click.ClickException:
    """The error as a person needs it: of `-auto-approve`, as Terraform takes it, click only says that there is no `-a`, and what is no
    number is "not a valid integer range" to it."""
    if isinstance(error, click.NoSuchOption) and error.ctx is not None:
        known = {opt for parameter in error.ctx.command.params for opt in parameter.opts}
        names = (word.partition("=")[0] for word in args if word.startswith(error.option_name))
        meant = next((name for name in names if f"-{name}" in known), None)
        return click.NoSuchOption(meant, possibilities=[f"-{meant}"], ctx=error.ctx) if meant is not None else error
    if isinstance(error, click.BadParameter) and "is not a valid integer range" in error.message:
        said = error.message.replace("is not a valid integer range", "is not a whole number")
        return click.BadParameter(said, error.ctx, error.param, error.param_hint)
    return error
