"""`gpurec schema`: JSON Schemas, for editors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from reconciler.cli.global_options import global_options

if TYPE_CHECKING:
    from reconciler.operations.schemas import Name


@click.command("schema")
@click.argument("name", type=click.Choice(["inventory", "desired", "plan"]))
@global_options
def command(name: Name) -> None:
    """Print the JSON Schema of a file: inventory, desired or plan."""
    from reconciler.operations.schemas import schema_text

    click.echo(schema_text(name), nl=False)
