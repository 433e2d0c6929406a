"""The JSON Schemas of the files as they are shipped, so that an editor's copy is the same whatever version of a library made it.

`make schemas` writes them anew after a table or a type of the plan was changed; a test holds both equal.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Literal

Name = Literal["inventory", "desired", "plan"]
NAMES: tuple[Name, ...] = ("inventory", "desired", "plan")


def schema_text(name: Name) -> str:
    """The schema of a file that people write, or of the plan document: JSON Schema 2020-12."""
    return (files(__package__) / f"{name}.json").read_text("utf-8")


def made_schema(name: Name) -> str:
    """The same, made from the tables that read the files and from the types of the plan."""
    import json

    if name == "plan":
        from reconciler.operations.plan_schema import plan_schema

        return json.dumps(plan_schema(), indent=2) + "\n"
    from reconciler.workspace import json_schema

    return json.dumps(json_schema(name), indent=2) + "\n"


def write_schemas() -> None:
    """Writes the shipped files anew (`make schemas`)."""
    from pathlib import Path

    for name in NAMES:
        (Path(__file__).parent / f"{name}.json").write_text(made_schema(name), "utf-8")
