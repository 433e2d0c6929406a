"""One type a name: who reads a name in one room must not think of another one's."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[2] / "reconciler"
OF_OTHERS = ("sim/", "containers/kubernetes_shapes.py", "containers/swarm_answers.py", "containers/shapes.py")
"""What these rooms name is named by the programs that they play, and by the answers that they read."""
ALIKE = ("Heartbeat",)
"""Of either store the same."""


def test_a_name_stands_for_one_type() -> None:
    places: dict[str, list[str]] = defaultdict(list)
    for path in sorted(PACKAGE.rglob("*.py")):
        where = path.relative_to(PACKAGE).as_posix()
        if where.startswith(OF_OTHERS):
            continue
        for found in ast.walk(ast.parse(path.read_text())):
            if isinstance(found, ast.ClassDef) and not found.name.startswith("_"):
                places[found.name].append(where)
    twice = {name: files for name, files in places.items() if len(files) > 1 and name not in ALIKE}
    assert not twice
    assert all(len(places[name]) > 1 for name in ALIKE), "no exception outlives its reason"
