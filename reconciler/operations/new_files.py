"""Files that gpurec writes for people to go on with: never over one of theirs, and so that an editor checks them while they are changed."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from reconciler.files import write_file

FOLDER = ".gpurec/schemas"
Checked = Literal["inventory", "desired"]


def schema_file(name: Checked) -> tuple[str, str]:
    """The path of a schema below the workspace, and its text."""
    from reconciler.operations.schemas import schema_text

    return f"{FOLDER}/{name}.json", schema_text(name)


def schema_line(file: Path, name: Checked) -> str:
    """The first line of a file (its path below the workspace): where the schema is from its own folder, as the YAML language server
    reads it, so that it holds offline and wherever the workspace was cloned to.

    Source: github.com/redhat-developer/yaml-language-server, "Using inlined schema".
    """
    return f"# yaml-language-server: $schema={Path(os.path.relpath(f'{FOLDER}/{name}.json', file.parent)).as_posix()}\n"


def write_missing(root: Path, files: Mapping[str, str], within: Path | None) -> list[str]:
    """Writes the files, by their paths below `root`, that are not there yet, and returns which. All of them or none: where one cannot be
    written (GpurecError), those that were written before it are taken away. No link may lead out of `within`."""
    done: list[str] = []
    try:
        for name, text in files.items():
            path = root / name
            if path.exists():
                continue
            write_file(path, text, overwrite=False, new_folders=True, within=within)
            done.append(name)
    except BaseException:
        for name in done:
            (root / name).unlink(missing_ok=True)
        raise
    return done
