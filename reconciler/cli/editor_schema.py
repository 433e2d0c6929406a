"""What lets an editor check a file while it is written: the schema in the workspace, and the line of the file that names it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

FOLDER = ".gpurec/schemas"


def schema_file(name: Literal["inventory", "desired"]) -> tuple[str, str]:
    """The path of a schema below the workspace, and its text."""
    from reconciler.operations.schemas import schema_text

    return f"{FOLDER}/{name}.json", schema_text(name)


def schema_line(file: Path, name: Literal["inventory", "desired"]) -> str:
    """The first line of a file (its path below the workspace): where the schema is from its own folder, as the YAML language server
    reads it, so that it holds offline and wherever the workspace was cloned to.

    Source: github.com/redhat-developer/yaml-language-server, "Using inlined schema".
    """
    return f"# yaml-language-server: $schema={Path(os.path.relpath(f'{FOLDER}/{name}.json', file.parent)).as_posix()}\n"
