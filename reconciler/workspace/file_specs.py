"""`files:` of the desired state."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

from reconciler.planning.kinds.file import FILES, FileSpec
from reconciler.rendering import RenderingError, used_names
from reconciler.workspace.forms import Form, any_scalar, map_of, text
from reconciler.workspace.problems import Problems, Refused
from reconciler.workspace.sections import SectionContext, SectionForm
from reconciler.workspace.table import Field, Table, later
from reconciler.workspace.tree import ListNode, Node, ScalarNode, what_is

_FLEET = "fleet"
_NOT_YET = "write `per: fleet`, a file of this machine; files of nodes are not written yet"


def _per(node: Node, problems: Problems, name: str) -> str:
    value = node.value if isinstance(node, ScalarNode) else None
    if value in ("node", "engine", "gpu"):
        raise problems.refuse(f"{name}: {value!r} is not carried out by this version of gpurec yet", node, _NOT_YET)
    if value != _FLEET:
        raise problems.refuse(f"{name} must be fleet, this is {what_is(node)}", node, _NOT_YET)
    return _FLEET


def _mode(node: Node, problems: Problems, name: str) -> str:
    written = node.text if isinstance(node, ScalarNode) and node.tag is None else ""
    digits = written.removeprefix("0o").removeprefix("0")
    if not (written.startswith("0") and digits and len(digits) <= 4 and set(digits) <= set("01234567")):
        raise problems.refuse(f"{name} is no mode of a file", node, 'write it as "0644"')
    return f"{int(digits, 8):04o}"


_OWN_FOLDERS = ("inventories", "desired", "templates", "state")
"""Of the workspace: gpurec reads what is there, or keeps its state there."""


def _path(node: Node, problems: Problems, name: str) -> str:
    """Without `.` and doubled `/`: a path is the name of a resource, so each file must have one spelling."""
    path = text.read(node, problems, name)
    plain = PurePosixPath("/" + path.lstrip("/") if path.startswith("/") else path)
    if path.endswith("/") or path.startswith("~") or ".." in plain.parts or not plain.name or len(path) > 4096:
        raise problems.refuse(f"{name} is no path of a file", node, "write an absolute path, or one below the workspace, without `..`")
    return str(plain)


TEMPLATE = Field("template", text, required=True)
PER = Field("per", Form(_per, {"enum": [_FLEET]}))
TO = Field("to", Form(_path, {"type": "string"}), required=True)
MODE = Field("mode", Form(_mode, {"type": "string", "pattern": "^0[0-7]{3,4}$"}))
VARS = Field("vars", map_of(any_scalar))
FILE = Table("file", (TEMPLATE, PER, TO, MODE, VARS), later("on", "owner", "validate", "reload"))


def _read_files(node: Node, context: SectionContext) -> tuple[FileSpec, ...]:
    problems = context.problems
    if not isinstance(node, ListNode) or node.tag is not None:
        raise problems.refuse(f"'files' must be a list, this is {what_is(node)}", node, "write `- {template: NAME, to: PATH}` lines")
    found: list[FileSpec] = []
    places: dict[str, Node] = {}
    for item in node.items:
        try:
            spec = _read_file(item, context)
        except Refused:
            continue
        at = os.path.realpath(context.sources.root / spec.to)
        if (first := places.get(at)) is not None:
            problems.error(f"two files are written to {spec.to!r}, the first at {first.place}", item, "keep one of the two")
            continue
        places[at] = item
        found.append(spec)
    return tuple(found)


def _read_file(node: Node, context: SectionContext) -> FileSpec:
    values = FILE.read(node, context.problems, "a file")
    name, to = values.get(TEMPLATE), values.get(TO)
    if name is None or to is None:
        raise Refused
    template = context.template(name, values.nodes[TEMPLATE.key])
    try:
        used_names(template)
    except RenderingError as error:
        problem = error.problems[0]
        context.problems.error(problem.what, problem.where, problem.hint)
        raise Refused from None
    to = _below(to, context.sources.root)
    real, root = Path(os.path.realpath(context.sources.root / to)), Path(os.path.realpath(context.sources.root))
    if any(real.is_relative_to(root / folder) for folder in _OWN_FOLDERS):
        what = f"{to!r} is among the files that gpurec itself reads or keeps"
        raise context.problems.refuse(what, values.nodes[TO.key], "write it to another folder")
    return FileSpec(template, to, values.get(MODE) or "0644", values.get(VARS) or {})


def _below(path: str, root: Path) -> str:
    """The one spelling of a path: relative where it is below the workspace."""
    absolute = root / path
    return str(absolute.relative_to(root)) if absolute.is_relative_to(root) else path


FILES_FORM = SectionForm(FILES, _read_files, {"type": "array", "items": FILE.schema()})
