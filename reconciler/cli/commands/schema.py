"""`gpurec schema`: JSON Schemas, for editors."""

from __future__ import annotations

from typing import Literal

import click

from reconciler.cli.global_options import global_options


@click.command("schema")
@click.argument("name", type=click.Choice(["inventory", "desired", "plan"]))
@global_options
def command(name: Literal["inventory", "desired", "plan"]) -> None:
    """Print the JSON Schema of a file: inventory, desired or plan."""
    import json

    if name == "plan":
        from reconciler.operations.plan_schema import plan_schema

        schema = plan_schema()
    else:
        from reconciler.workspace import json_schema

        schema = json_schema(name)
    click.echo(json.dumps(schema, indent=2))
