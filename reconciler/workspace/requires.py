"""`requires:` of a model: what a card or its node must have."""

from __future__ import annotations

import re
from collections.abc import Mapping

from reconciler.fleet import Requirements, UnitError, VersionBound, parse_capability, parse_version
from reconciler.workspace.forms import Form, label, map_of, scalar, shortened, size
from reconciler.workspace.problems import Problems, did_you_mean
from reconciler.workspace.table import Field, Table
from reconciler.workspace.tree import Node

_BOUND = re.compile(r"(>=|<=|==|=|>|<)?\s*(\S+)")
MOST_BOUND = 100
_DTYPES = ("float16", "bfloat16")


def _bound(name: str, node: Node, problems: Problems, *, as_capability: bool) -> VersionBound:
    found = scalar(node, problems, name, "a version, such as '>=7.0'")
    match = _BOUND.fullmatch(found.text.strip()) if len(found.text) <= MOST_BOUND else None
    if match is None or isinstance(found.value, bool):
        raise problems.refuse(
            f"{name}: {shortened(found.text)} is not a version bound", node, "write it as '>=7.0'; a bare version means at least that"
        )
    operator, number = match.groups()
    try:
        version = parse_capability(number) if as_capability else parse_version(number)
    except UnitError as error:
        raise problems.refuse(f"{name}: {error.args[0]}", node, error.hint) from None
    return VersionBound({"=": "==", None: ">="}.get(operator, operator), version)


def _dtype(node: Node, problems: Problems, name: str) -> str:
    word = scalar(node, problems, name, "float16 or bfloat16").text
    if word not in _DTYPES:
        raise problems.refuse(f"{name} cannot be {word!r}", node, did_you_mean(word, _DTYPES))
    return word


def _bound_schema(example: str) -> Mapping[str, object]:
    return {"type": ["string", "number"], "description": example}


CAPABILITY = Field(
    "compute_capability",
    Form(lambda node, problems, name: _bound(name, node, problems, as_capability=True), _bound_schema(">=7.0")),
    says="Bound of the compute capability of every card.",
)
DRIVER = Field(
    "driver",
    Form(lambda node, problems, name: _bound(name, node, problems, as_capability=False), _bound_schema(">=525")),
    says="Bound of the driver's version.",
)
CARD_VRAM = Field("vram", size, says="The least total size of every card of the engine.", mib_keys=("vram_mb", "min_vram_mb"))
DTYPE = Field("dtype", Form(_dtype, {"enum": list(_DTYPES)}), says="Arithmetic that the cards must have in hardware.")
LABELS = Field("labels", map_of(label), says="Labels that the host must have.")
REQUIRES = Table("requires", (CAPABILITY, DRIVER, CARD_VRAM, DTYPE, LABELS))


def _requires(node: Node, problems: Problems, name: str) -> Requirements:
    values = REQUIRES.read(node, problems, name)
    return Requirements(
        values.get(CAPABILITY),
        values.get(DRIVER),
        values.get(CARD_VRAM),
        values.get(DTYPE),
        tuple(sorted((values.get(LABELS) or {}).items())),
    )


requires = Form(_requires, REQUIRES.schema())
