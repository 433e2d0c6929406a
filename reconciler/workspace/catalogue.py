"""The catalogue: the package's own file, and over it a workspace's `catalogue.yaml`, entry by entry."""

from __future__ import annotations

import re
from pathlib import Path

from reconciler.fleet import EngineKind, canonical_name
from reconciler.value_class import value_class
from reconciler.vram import Catalogue, KnownGpu, KnownModel, Quantisation, Shape, Trust
from reconciler.workspace.compiled_catalogue import COMPILED, compiled, shipped_catalogue
from reconciler.workspace.files import Sources
from reconciler.workspace.forms import capability, choice, flag, integer, list_of, text, vram, vram_mebibytes
from reconciler.workspace.parse import parse
from reconciler.workspace.problems import Problems, Refused, did_you_mean
from reconciler.workspace.scalars import YamlVersion
from reconciler.workspace.shapes import read_shape
from reconciler.workspace.table import Field, Table
from reconciler.workspace.tree import MapNode, Node, is_null, kind_of, what_is

FILE = "catalogue.yaml"
_PCI = re.compile(r"[0-9a-f]{4}:[0-9a-f]{4}")

ENGINE = Field("engine", choice(EngineKind), required=True)
VRAM = Field("vram", vram, required=True, mib_keys=("vram_mb",), mib_form=vram_mebibytes)
SIZE = Field("vram", vram, mib_keys=("vram_mb",), mib_form=vram_mebibytes)
TRUST = Field("trust", choice(Trust))
SHAPE = Field("shape", text)
QUANTISATION = Field("quantisation", choice(Quantisation))
MODEL = Table("models", (ENGINE, SIZE, TRUST, SHAPE, QUANTISATION))

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
    shipped = shipped_catalogue()
    if root is None or not (root / FILE).exists():
        return shipped
    found = _Found(dict(shipped.models), dict(shipped.gpus), dict(shipped.shapes))
    _read(sources.read(Path(FILE), YamlVersion.V1_2), problems, found)
    return Catalogue(found.models, found.gpus, found.shapes)


def written_catalogue() -> Catalogue:
    """The package's own, from the YAML that people write. Raises WorkspaceError with every problem of it."""
    problems, found = Problems(), _Found({}, {}, {})
    _read(parse(Path(__file__).with_name(FILE).read_text("utf-8"), FILE, YamlVersion.V1_2, problems), problems, found)
    problems.raise_if_any()
    return Catalogue(found.models, found.gpus, found.shapes)


@value_class
class _Found:
    """What was read so far; an entry that is read again takes the place of the one before."""

    models: dict[tuple[EngineKind, str], KnownModel]
    gpus: dict[str, KnownGpu]
    shapes: dict[str, Shape]


def _read(node: Node | None, problems: Problems, found: _Found) -> None:
    if node is None:
        return
    if not isinstance(node, MapNode):
        problems.error(f"a catalogue must be a mapping, this is {kind_of(node)}", node, "write models:, shapes: and gpus:")
        return
    for word, (key, value) in sorted(node.entries.items(), key=lambda entry: entry[0] != "shapes"):  # models refer to them
        try:
            if word == "version":
                _VERSION.read(value, problems, "version")
            elif word == "models":
                for name, entry in _entries(value, problems, "models"):
                    _model(name, entry, problems, found)
            elif word == "shapes":
                for name, entry in _entries(value, problems, "shapes"):
                    shape = read_shape(name, entry, problems)
                    if shape is not None:
                        found.shapes[name] = shape
            elif word == "gpus":
                for name, entry in _entries(value, problems, "gpus"):
                    _gpu(name, entry, problems, found.gpus)
            else:
                problems.error(f"unknown key {key.text!r} of the catalogue", key, "known here: version, models, shapes, gpus")
        except Refused:
            continue


def _entries(node: Node, problems: Problems, what: str) -> list[tuple[str, Node]]:
    if is_null(node):
        return []
    if not isinstance(node, MapNode):
        raise problems.refuse(f"{what} must be a mapping, this is {what_is(node)}", node, "write `NAME: {…}` lines")
    return [(key.text, entry) for key, entry in node.entries.values()]


def _model(name: str, node: Node, problems: Problems, found: _Found) -> None:
    try:
        read = MODEL.read(node, problems, f"the model {name!r}")
    except Refused:
        return
    kind, size, shape, quantisation = read.get(ENGINE), read.get(SIZE), read.get(SHAPE), read.get(QUANTISATION)
    if SIZE not in read and SHAPE not in read:
        problems.error(f"the model {name!r} lacks 'vram'", node, "add `vram:`, or the `shape:` it has")
        return
    if shape is not None and shape not in found.shapes:
        hint = did_you_mean(shape, found.shapes)
        problems.error(f"the model {name!r} has the shape {shape!r}, which is not listed", read.nodes["shape"], hint)
        return
    if QUANTISATION in read and shape is None:
        problems.error(f"the model {name!r} has a quantisation, but no shape", read.nodes["quantisation"], "add `shape:`")
        return
    if kind is not None and (size is not None or shape is not None):
        known = canonical_name(kind, name)
        trust = read.get(TRUST) or Trust.REPORTED
        found.models[kind, known] = KnownModel(known, kind, size, trust, shape, quantisation or Quantisation.Q4_K_M)


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


def write_compiled() -> None:
    """Writes the compiled file anew from the YAML beside it (`make catalogue`)."""
    (Path(__file__).parent / COMPILED).write_bytes(compiled(written_catalogue()))
