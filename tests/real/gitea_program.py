"""Gitea, in the cache of the real suite. Standard library only."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

from building import made_whole, run, step

GITEA = "1.26.2"
"""Newer ones require modules that the module proxy does not have."""
_READ_AT_RUN_TIME = ("templates", "options", "public")


def provide_gitea(folder: Path) -> None:
    """`gitea` with the files that it reads. It is built where Go keeps its module: what its go.mod replaces counts only where it is the
    main module, so a module of our own that required it could not be built."""
    if (folder / "gitea").exists():
        return
    told = subprocess.run(["go", "mod", "download", "-json", f"code.gitea.io/gitea@v{GITEA}"], capture_output=True, check=True)
    source = Path(json.loads(told.stdout)["Dir"])
    with step(f"Gitea {GITEA} (compiling takes many minutes)"), made_whole(folder) as work:
        tags = ("-tags", "sqlite sqlite_unlock_notify", "-ldflags", f"-X main.Version={GITEA}")
        run("go", "build", "-C", source, "-p", "1", "-mod=readonly", *tags, "-o", work / "gitea", ".")
        for name in _READ_AT_RUN_TIME:
            for file in (source / name).rglob("*"):  # of Go's cache nobody may write anything, and a copied folder would be so too
                if file.is_file():
                    to = work / name / file.relative_to(source / name)
                    to.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(file, to)
