"""`files:` of the desired state."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from reconciler.fleet import LOCAL, EngineKind, Scalar, SecretRef, WorkspaceError
from reconciler.planning.kinds.file import FILES, FileSpec, Per
from reconciler.planning.kinds.file.spec import OWN_FOLDERS, PATH_HINT, wrong_path
from reconciler.rendering import RenderingError, Template, used_names
from reconciler.rendering.library import ENGINES, PREFIX
from reconciler.rendering.values import FROM_PLACEMENT
from reconciler.rendering.variables import VARIABLES_HINT, wrong_name, wrong_value
from reconciler.workspace.forms import Form, any_scalar, choice, list_of, map_of, secret, text
from reconciler.workspace.problems import Problems, Refused
from reconciler.workspace.sections import SectionContext, SectionForm
from reconciler.workspace.table import Field, Table, Values
from reconciler.workspace.templating import is_template
from reconciler.workspace.tree import ListNode, MapNode, Node, ScalarNode, what_is

_DRAFT = "{path}"
_SECRET = re.compile(r"env:[A-Za-z_][A-Za-z0-9_]*|file:.+")
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}\$?")


def _mode(node: Node, problems: Problems, name: str) -> str:
    written = node.text if isinstance(node, ScalarNode) and node.tag is None else ""
    digits = written.removeprefix("0o").removeprefix("0")
    if not (written.startswith("0") and digits and len(digits) <= 4 and set(digits) <= set("01234567")):
        raise problems.refuse(f"{name} is no mode of a file", node, 'write it as "0644"')
    return f"{int(digits, 8):04o}"


def _to(node: Node, problems: Problems, name: str) -> Template:
    """Without `.` and doubled `/`: a path is the name of a resource, so each file must have one spelling."""
    path = text.read(node, problems, name)
    if not is_template(node):
        plain = PurePosixPath("/" + path.lstrip("/") if path.startswith("/") else path)
        if path.endswith("/") or ".." in plain.parts or not plain.name or wrong_path(str(plain), local=True):
            raise problems.refuse(f"{name} is no path of a file", node, PATH_HINT)
        path = str(plain)
    return Template(node.file, path, node.line)


def _value(node: Node, problems: Problems, name: str) -> Scalar | Template | SecretRef:
    value = any_scalar.read(node, problems, name)
    if isinstance(value, str) and _SECRET.fullmatch(value):
        return secret.read(node, problems, name)
    return Template(node.file, value, node.line) if is_template(node) and isinstance(value, str) else value


def _command(node: Node, problems: Problems, name: str) -> tuple[str, ...]:
    command = _WORDS.read(node, problems, name)
    if not command or ("/" in command[0] and not command[0].startswith("/")):
        raise problems.refuse(f"{name} names no program", node, "write its name or its whole path first, as in [systemctl, reload, nginx]")
    return command


def _validation(node: Node, problems: Problems, name: str) -> tuple[str, ...]:
    command = _command(node, problems, name)
    if not any(_DRAFT in word for word in command[1:]):
        hint = "write {path} where the path of the new content goes, as in [nginx, -t, -c, '{path}']"
        raise problems.refuse(f"{name} says nowhere {_DRAFT}", node, hint)
    return command


def _owner(node: Node, problems: Problems, name: str) -> str:
    owner = text.read(node, problems, name)
    if not _USER.fullmatch(owner):
        raise problems.refuse(f"{name} is no name of a user", node, "write the name of an account of the node")
    return owner


_WORDS = list_of(text)
_STRINGS = {"type": "array", "items": {"type": "string"}, "minItems": 1}
TEMPLATE = Field(
    "template", text, says="A file of templates/, or gpurec:NAME of one that comes with gpurec.", required=True, meant="src source"
)
PER = Field("per", choice(Per), says="One file for the fleet (default), or one for each node, engine or card.")
ON = Field("on", text, says="Pattern of the hosts that get one; the default is all.", meant="hosts nodes")
ENGINE = Field("engine", choice(EngineKind), says="With `per: engine`: only of engines of this kind.", meant="kind engines")
TO = Field(
    "to",
    Form(_to, {"type": "string"}),
    says="Where it is written: below the workspace with `per: fleet`, else its whole path on the node.",
    required=True,
    meant="dest path target destination",
)
MODE = Field("mode", Form(_mode, {"type": "string", "pattern": "^0[0-7]{3,4}$"}), says="Its mode; the default is 0644.")
OWNER = Field("owner", Form(_owner, {"type": "string"}), says="Its owner; the default is who writes it.", meant="user")
VARS = Field(
    "vars", map_of(Form(_value, any_scalar.schema)), says="Further values that the template sees; env:NAME and file:PATH refer to secrets."
)
VALIDATE = Field(
    "validate",
    Form(_validation, _STRINGS),
    says="A command that is run on the new content, at {path}, before it takes the place.",
    meant="check",
)
RELOAD = Field(
    "reload", Form(_command, _STRINGS), says="A command that is run once after all files of the node that name it.", meant="notify handler"
)
FILE = Table("file", (TEMPLATE, PER, ON, ENGINE, TO, MODE, OWNER, VARS, VALIDATE, RELOAD))


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
        at = os.path.realpath(context.sources.root / spec.to.text)
        if spec.per is Per.FLEET and (first := places.get(at)) is not None:
            problems.error(f"two files are written to {spec.to.text!r}, the first at {first.place}", item, "keep one of the two")
            continue
        if spec.per is Per.FLEET:
            places[at] = item
        found.append(spec)
    return tuple(found)


def _read_file(node: Node, context: SectionContext) -> FileSpec:
    problems = context.problems
    values = FILE.read(node, problems, "a file")
    name, to, per = values.get(TEMPLATE), values.get(TO), values.get(PER) or Per.FLEET
    if name is None or to is None or (PER in values and values.get(PER) is None):
        raise Refused
    template = context.template(name, values.nodes[TEMPLATE.key])
    _check_vars(name, values, problems)
    own = [one for one in (values.get(VARS) or {}).values() if isinstance(one, Template)]
    spoken = [_names(one, problems) for one in (template, *own, to)]
    if elsewhere := spoken[-1] & FROM_PLACEMENT:
        what = f"'to' speaks of {', '.join(sorted(elsewhere))}, which depend on what is placed; where a file is must not"
        raise problems.refuse(what, values.nodes[TO.key], "name it by node, engine or gpu")
    if per is not Per.ENGINE and (asked := values.nodes.get(ENGINE.key)) is not None:
        raise problems.refuse("'engine' goes with one file for each engine", asked, "add `per: engine`, or remove it")
    return FileSpec(
        template=template,
        to=_below(to, context.sources.root) if per is Per.FLEET else to,
        place=node.place,
        per=per,
        nodes=_nodes(values, per, context),
        engine=values.get(ENGINE) or (ENGINES.get(name.removeprefix(PREFIX)) if name.startswith(PREFIX) else None),
        mode=values.get(MODE) or "0644",
        owner=values.get(OWNER),
        vars=values.get(VARS) or {},
        validate=values.get(VALIDATE) or (),
        reload=values.get(RELOAD) or (),
    )


def _check_vars(name: str, values: Values, problems: Problems) -> None:
    """Raises Refused where a template that comes with gpurec is given what it does not have, or a value that is none for it; what is
    rendered is judged then."""
    if not name.startswith(PREFIX) or not isinstance(given := values.nodes.get(VARS.key), MapNode):
        return
    template, read = name.removeprefix(PREFIX), values.get(VARS) or {}
    for key, node in given.entries.values():
        if (wrong := wrong_name(template, key.text)) is not None:
            raise problems.refuse(wrong[0], key, wrong[1])
        value = read.get(key.text)
        if key.text in read and not isinstance(value, Template) and (what := wrong_value(template, key.text, value)) is not None:
            raise problems.refuse(what, node, VARIABLES_HINT)


def _names(template: Template, problems: Problems) -> frozenset[str]:
    try:
        return frozenset(used_names(template))
    except RenderingError as error:
        problem = error.problems[0]
        raise problems.refuse(problem.what, problem.where, problem.hint) from None


def _nodes(values: Values, per: Per, context: SectionContext) -> tuple[str, ...]:
    """The nodes of `on`, sorted; all without one."""
    problems, inventory = context.problems, context.inventory
    to, asked = values.nodes[TO.key], values.nodes.get(ON.key)
    if per is Per.FLEET:
        if asked is not None:
            raise problems.refuse("'on' goes with one file for each node, engine or card", asked, "add `per: node`, or remove it")
        _refuse_own(values, context)
        return ()
    if not is_template(to) and not (values.get(TO) or Template("", "")).text.startswith("/"):
        raise problems.refuse("'to' of a file on a node is not absolute", to, "write its whole path there, as /etc/NAME")
    if inventory is None:
        return ()
    try:
        found: Iterable[str] = inventory.match(values.get(ON) or "all")
    except WorkspaceError as error:
        problem = error.problems[0]
        raise problems.refuse(f"'on' of a file: {problem.what}", asked, problem.hint) from None
    names = tuple(sorted(found))
    if not names:
        raise problems.refuse("'on' of a file leaves no host", asked, "write a pattern that names at least one host")
    if LOCAL in names:
        raise problems.refuse(f"a host has the name {LOCAL!r}, which means this machine in the address of a file", to, "rename the host")
    return names


def _refuse_own(values: Values, context: SectionContext) -> None:
    """Nothing that gpurec itself reads or keeps is ever written."""
    root, to = context.sources.root, values.get(TO)
    if to is None or is_template(values.nodes[TO.key]):
        return
    real, base = Path(os.path.realpath(root / to.text)), Path(os.path.realpath(root))
    if any(real.is_relative_to(base / folder) for folder in OWN_FOLDERS):
        what = f"{_below(to, root).text!r} is among the files that gpurec itself reads or keeps"
        raise context.problems.refuse(what, values.nodes[TO.key], "write it to another folder")


def _below(to: Template, root: Path) -> Template:
    """The one spelling of a path: relative where it is below the workspace."""
    absolute = root / to.text
    return Template(to.file, str(absolute.relative_to(root)), to.first_line) if absolute.is_relative_to(root) else to


FILES_FORM = SectionForm(
    FILES, _read_files, {"type": "array", "items": FILE.schema()}, "Files that are rendered from templates and kept as they are rendered."
)
