"""The catalogue: the package's own file, and over it a workspace's `catalogue.yaml`, entry by entry."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path

from reconciler.fleet import EngineKind, canonical_name
from reconciler.vram import Catalogue, KnownGpu, KnownModel, Trust
from reconciler.workspace.files import Sources
from reconciler.workspace.forms import capability, choice, flag, integer, list_of, text, vram, vram_mebibytes
from reconciler.workspace.parse import parse
from reconciler.workspace.problems import Problems, Refused
from reconciler.workspace.scalars import YamlVersion
from reconciler.workspace.table import Field, Table
from reconciler.workspace.tree import MapNode, Node, is_null, what_is

FILE = "catalogue.yaml"
_PCI = re.compile(r"[0-9a-f]{4}:[0-9a-f]{4}")

ENGINE = Field("engine", choice(EngineKind), required=True)
VRAM = Field("vram", vram, required=True, mib_keys=("vram_mb",), mib_form=vram_mebibytes)
TRUST = Field("trust", choice(Trust))
MODEL = Table("models", (ENGINE, VRAM, TRUST))

PCI = Field("pci", list_of(text))
CAPABILITY = Field("compute_capability", capability, required=True)
FLOAT16 = Field("float16", flag, required=True)
BFLOAT16 = Field("bfloat16", flag, required=True)
GPU = Table("gpus", (PCI, VRAM, CAPABILITY, FLOAT16, BFLOAT16))
_VERSION = integer(1, 1)


def load_catalogue(root: Path | None = None) -> Catalogue:
    """The package's catalogue, and over it `catalogue.yaml` of the workspace `root` where there is one.

    Raises WorkspaceError with every problem of the workspace's file.
    """
    problems = Problems()
    found = read_catalogue(root, Sources(root or Path(), problems), problems)
    problems.raise_if_any()
    return found


def read_catalogue(root: Path | None, sources: Sources, problems: Problems) -> Catalogue:
    """The same among the other files of a workspace: its own file counts in their digest, and its problems with theirs."""
    models: dict[tuple[EngineKind, str], KnownModel] = {}
    gpus: dict[str, KnownGpu] = {}
    own = parse((files(__package__) / FILE).read_text("utf-8"), FILE, YamlVersion.V1_2, problems)
    _read(own, problems, models, gpus)
    if root is not None and (root / FILE).exists():
        _read(sources.read(Path(FILE), YamlVersion.V1_2), problems, models, gpus)
    return Catalogue(models, gpus)


def _read(node: Node | None, problems: Problems, models: dict[tuple[EngineKind, str], KnownModel], gpus: dict[str, KnownGpu]) -> None:
    if node is None:
        return
    if not isinstance(node, MapNode):
        problems.error(f"a catalogue must be a mapping, this is {what_is(node)}", node, "write models: and gpus:")
        return
    for word, (key, value) in node.entries.items():
        try:
            if word == "version":
                _VERSION.read(value, problems, "version")
            elif word == "models":
                for name, entry in _entries(value, problems, "models"):
                    _model(name, entry, problems, models)
            elif word == "gpus":
                for name, entry in _entries(value, problems, "gpus"):
                    _gpu(name, entry, problems, gpus)
            else:
                problems.error(f"unknown key {key.text!r} of the catalogue", key, "known here: version, models, gpus")
        except Refused:
            continue


def _entries(node: Node, problems: Problems, what: str) -> list[tuple[str, Node]]:
    if is_null(node):
        return []
    if not isinstance(node, MapNode):
        raise problems.refuse(f"{what} must be a mapping, this is {what_is(node)}", node, "write `NAME: {vram: …}` lines")
    return [(key.text, entry) for key, entry in node.entries.values()]


def _model(name: str, node: Node, problems: Problems, models: dict[tuple[EngineKind, str], KnownModel]) -> None:
    try:
        read = MODEL.read(node, problems, f"the model {name!r}")
    except Refused:
        return
    kind, size = read.get(ENGINE), read.get(VRAM)
    if kind is not None and size is not None:
        found = canonical_name(kind, name)
        models[kind, found] = KnownModel(found, kind, size, read.get(TRUST) or Trust.REPORTED)


def _gpu(name: str, node: Node, problems: Problems, gpus: dict[str, KnownGpu]) -> None:
    try:
        read = GPU.read(node, problems, f"the card {name!r}")
    except Refused:
        return
    size, version, half, brain = read.get(VRAM), read.get(CAPABILITY), read.get(FLOAT16), read.get(BFLOAT16)
    ids = tuple(one.lower() for one in read.get(PCI) or ())
    for one in ids:
        if not _PCI.fullmatch(one):
            problems.error(f"{one!r} of the card {name!r} is no PCI id", read.nodes["pci"], 'write vendor:device, such as "10de:2684"')
    if size is None or version is None or half is None or brain is None:
        return
    card = KnownGpu(name, ids, size, version, half, brain)
    for key in (name.lower(), *ids):
        gpus[key] = card
