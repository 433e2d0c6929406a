"""Files as the desired state asks for them, and where each of them goes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field
from enum import StrEnum

from reconciler.fleet import (
    LOCAL,
    Desired,
    EngineId,
    EngineKind,
    Fleet,
    FleetFacts,
    GpurecError,
    Place,
    Problem,
    Scalar,
    SecretRef,
    Section,
    resource_address,
)
from reconciler.rendering import EngineValue, NodeValue, Template, TemplateValues, render, values_of
from reconciler.rendering.library import PREFIX
from reconciler.rendering.secret import Secret
from reconciler.rendering.variables import VARIABLES_HINT, wrong_value
from reconciler.value_class import value_class


class Per(StrEnum):
    """What there is one file for."""

    FLEET = "fleet"
    NODE = "node"
    ENGINE = "engine"
    GPU = "gpu"


@value_class
class FileSpec:
    """Files as declared at `place`. `to` is their path, which may speak of `node`, `engine` and `gpu`; of a file of the fleet it is on this
    machine, a relative one below the workspace. `nodes` have them, where there is one for a node, an engine (of the kind `engine`; None is
    any) or a card. `mode` is as in `0644`; `owner` None is whoever writes. `validate` and `reload` are commands, empty where there is
    none."""

    template: Template
    to: Template
    place: Place
    per: Per = Per.FLEET
    nodes: tuple[str, ...] = ()
    engine: EngineKind | None = None
    mode: str = "0644"
    owner: str | None = None
    vars: Mapping[str, Scalar | Template | SecretRef] = field(default_factory=dict)
    validate: tuple[str, ...] = ()
    reload: tuple[str, ...] = ()


FILES: Section[tuple[FileSpec, ...]] = Section("files", ())
ELSEWHERE: Section[tuple[str, ...]] = Section("files of other fleets", ())
"""Paths of this machine that other fleets of the workspace write."""
KIND = "file"
OWN_FOLDERS = ("inventories", "desired", "templates", "state")
"""Of the workspace: gpurec reads what is there, or keeps its state there. No file is written into them."""


@value_class
class Destination:
    """One file: its declaration, its node (`local`: this machine), its path there, and what its template sees beside the values of all."""

    spec: FileSpec
    node: str
    path: str
    own: Mapping[str, object]

    @property
    def address(self) -> str:
        return resource_address(KIND, self.path, self.node)

    @property
    def engine(self) -> EngineId | None:
        """The engine whose own file it is."""
        found = self.own.get("engine")
        return EngineId(found.node, found.name) if isinstance(found, EngineValue) else None

    def text(self, values: TemplateValues) -> str:
        """What it says. Raises RenderingError."""
        return render(self.spec.template, values.named(**self.own, vars=_vars(self.spec, values, self.own)))


def destinations(desired: Desired, fleet: Fleet, facts: FleetFacts) -> list[Destination]:
    """Every file that is asked for, as far as it is known for which cards. Raises GpurecError where two are one file, or a path cannot be
    rendered."""
    specs = FILES.of(desired)
    if not specs:
        return []
    values = values_of(fleet, desired, facts, {})
    found: dict[str, Destination] = {}
    for spec in specs:
        for node, own in _each(spec, values):
            one = Destination(spec, node, _path(spec, node, values, own), own)
            first = found.setdefault(one.address, one)
            if first is not one:
                raise _twice(first, one)
    return list(found.values())


def without_known_cards(desired: Desired, facts: FleetFacts) -> frozenset[str]:
    """The nodes of which nobody can say what files they are to have, since these are for cards that are not known."""
    asked = {node for spec in FILES.of(desired) if spec.per is Per.GPU for node in spec.nodes}
    return frozenset(node for node in asked if (seen := facts.nodes.get(node)) is None or seen.cards is None)


def _each(spec: FileSpec, values: TemplateValues) -> Iterator[tuple[str, Mapping[str, object]]]:
    """For whom there is a file, with what it sees of its own."""
    if spec.per is Per.FLEET:
        yield LOCAL, {}
        return
    by_name: Mapping[str, NodeValue] = {node.name: node for node in values.nodes}
    for name in spec.nodes:
        node = by_name[name]
        own: Mapping[str, object] = {"node": node, "settings": node.settings}
        match spec.per:
            case Per.NODE:
                yield name, own
            case Per.ENGINE:
                for engine in node.engines:
                    if spec.engine is None or engine.kind == spec.engine.value:
                        yield name, {**own, "engine": engine}
            case Per.GPU:
                for gpu in node.gpus:
                    yield name, {**own, "gpu": gpu}


def _vars(spec: FileSpec, values: TemplateValues, own: Mapping[str, object]) -> Mapping[str, object]:
    def value(one: Scalar | Template | SecretRef) -> object:
        if isinstance(one, SecretRef):
            return Secret(str(one))
        return render(one, values.named(**own)) if isinstance(one, Template) else one

    found = {name: value(one) for name, one in spec.vars.items()}
    if spec.template.file.startswith(PREFIX):
        for name, one in spec.vars.items():
            wrong = wrong_value(spec.template.file.removeprefix(PREFIX), name, found[name])
            if wrong is not None and isinstance(one, Template):
                what = f"{wrong}, it renders to {str(found[name])[:80]!r}"
                raise GpurecError(Problem(what, Place(one.file, one.first_line), VARIABLES_HINT))
    return found


def _path(spec: FileSpec, node: str, values: TemplateValues, own: Mapping[str, object]) -> str:
    if "{" not in spec.to.text:
        return spec.to.text
    path = render(spec.to, values.named(**own, vars=_vars(spec, values, own)))
    if wrong := wrong_path(path, local=node == LOCAL):
        raise GpurecError(Problem(f"`to` renders to {path[:80]!r} for node {node}: {wrong}", spec.place, PATH_HINT))
    return path


PATH_HINT = "write an absolute path, or for a file of the fleet one below the workspace, without `.`, `..` and doubled `/`"
MOST_PATH = 4096


def wrong_path(path: str, *, local: bool) -> str | None:
    """Why a text is no path of a file in its one spelling; None where it is."""
    parts = path.removeprefix("/").split("/")
    if not path.isprintable() or path != path.strip() or len(path) > MOST_PATH or path.startswith("~"):
        return "that is no path of a file"
    if not all(part and part not in (".", "..") for part in parts):
        return "that is no path of a file in its plain spelling"
    return None if local or path.startswith("/") else "a path on a node is absolute"


def _twice(first: Destination, second: Destination) -> GpurecError:
    what = f"two files of {second.node} are written to {second.path!r}, the first at {first.spec.place}"
    own: Sequence[str] = [name for name in ("engine", "gpu") if name in second.own]
    hint = f"say in `to` which {own[0]} it is for, as in {{{{ {own[0]}.{'name' if own[0] == 'engine' else 'index'} }}}}" if own else None
    return GpurecError(Problem(what, second.spec.place, hint or "keep one of the two"))
