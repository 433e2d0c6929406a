"""Files of this machine that the other fleets of a workspace write: two fleets would put their own text back for ever."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from reconciler.fleet import Desired, Place, WorkspaceError
from reconciler.planning.kinds.file import FILES, Per
from reconciler.workspace.files import Sources
from reconciler.workspace.problems import Problems
from reconciler.workspace.scalars import YamlVersion
from reconciler.workspace.selection import desired_files, fleets
from reconciler.workspace.templating import is_template
from reconciler.workspace.tree import ListNode, MapNode, ScalarNode

_KEY = "files"


def files_of_others(root: Path, fleet: str, desired: Desired, problems: Problems) -> tuple[str, ...]:
    """Their paths, sorted. Reports where one of them is a file of this fleet too. What of other fleets cannot be read is passed over, and
    so are paths that are rendered: their own commands tell what is wrong with them."""
    others = {
        os.path.realpath(root / path): (path, name, place) for name in fleets(root) if name != fleet for path, place in _files(root, name)
    }
    for spec in FILES.of(desired) if others else ():
        same = others.get(os.path.realpath(root / spec.to.text)) if spec.per is Per.FLEET else None
        if same is not None:
            what = f"{spec.to.text!r} is a file of the fleet {same[1]} too, at {same[2]}"
            problems.error(what, spec.place, "write one of the two to another path: each fleet would put its own text back for ever")
    return tuple(sorted(path for path, _, _ in others.values()))


def _files(root: Path, fleet: str) -> Iterator[tuple[str, Place]]:
    try:
        paths = desired_files(root, fleet)
    except (WorkspaceError, OSError):
        return
    for path in paths:
        try:
            if f"{_KEY}:" not in (root / path).read_text(errors="replace"):
                continue
        except OSError:
            continue
        tree = Sources(root, Problems()).read(path, YamlVersion.V1_2)
        listed = tree.get(_KEY) if isinstance(tree, MapNode) else None
        for item in listed.items if isinstance(listed, ListNode) else ():
            to, per = (item.get("to"), item.get("per")) if isinstance(item, MapNode) else (None, None)
            if isinstance(to, ScalarNode) and not is_template(to) and (not isinstance(per, ScalarNode) or per.text == Per.FLEET):
                yield to.text, item.place
