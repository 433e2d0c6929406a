"""`gpurec template`: the templates that come with gpurec."""

from __future__ import annotations

import click

from reconciler.cli.global_options import global_options
from reconciler.cli.groups import CommandGroup
from reconciler.cli.settings import settings_of


@click.group("template", cls=CommandGroup)
@global_options
def command() -> None:
    """List the built-in templates, or copy one into templates/."""


@command.command("list")
@global_options
def list_() -> None:
    """Show the names of the built-in templates, for `template: gpurec:NAME`."""
    from reconciler.rendering.library import PREFIX, built_in, built_in_names, summary_of

    for name in built_in_names():
        template = built_in(name)
        assert template is not None
        click.echo(f"{PREFIX}{name:<18} {summary_of(template)}")


@command.command("eject")
@click.argument("name")
@global_options
@click.pass_context
def eject(context: click.Context, name: str) -> None:
    """Copy a built-in template to templates/NAME.j2, to be changed and used as `template: NAME.j2`."""
    from reconciler.files import write_file
    from reconciler.fleet import GpurecError
    from reconciler.rendering.library import PREFIX, built_in, built_in_names
    from reconciler.views import escape
    from reconciler.workspace.problems import did_you_mean

    settings = settings_of(context)
    plain = name.removeprefix(PREFIX).removesuffix(".j2")
    template = built_in(plain)
    if template is None:
        raise GpurecError.of(f"there is no built-in template {escape(plain)}", None, did_you_mean(plain, built_in_names()))
    path = settings.path("templates") / f"{plain}.j2"
    if path.exists():
        raise GpurecError.of("this file is there already, and is not replaced", str(path), "move it away, or edit it as it is")
    write_file(path, template.text, overwrite=False, new_folders=settings.directory.is_dir(), within=settings.workspace_only())
    click.echo(f"Wrote {escape(str(path), 4000)}: write `template: {plain}.j2` to use it.")
