"""The lock file of a fleet, `desired/FLEET.lock.yaml`: which weights a name stood for when `gpurec pin` was run."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from reconciler.fleet import ModelSpec
from reconciler.workspace.forms import Form, map_of, scalar
from reconciler.workspace.problems import Problems, Refused
from reconciler.workspace.selection import DESIRED
from reconciler.workspace.table import Field, Table
from reconciler.workspace.tree import MapNode, Node, ScalarNode, is_null, what_is

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def _digest(node: Node, problems: Problems, name: str) -> str:
    found = scalar(node, problems, name, "a digest of weights").text
    if not _DIGEST.fullmatch(found):
        raise problems.refuse(f"{name} is no digest of weights", node, "write sha256: and 64 hexadecimal digits, or run gpurec pin")
    return found


digest = Form(_digest, {"type": "string", "pattern": "^sha256:[0-9a-f]{64}$"})


def _version(node: Node, problems: Problems, name: str) -> int:
    if not isinstance(node, ScalarNode) or node.value != 1 or isinstance(node.value, bool):
        raise problems.refuse(f"{name} must be 1, this is {what_is(node)}", node, "run gpurec pin to write the file again")
    return 1


VERSION = Field("version", Form(_version, {"const": 1}), required=True)
DIGESTS = Field("digests", map_of(digest))
LOCK = Table("lock file", (VERSION, DIGESTS))


def lock_path(fleet: str) -> Path:
    """Where the lock file of a fleet is, relative to the workspace; beside its desired state and no part of it."""
    return Path(DESIRED) / f"{fleet}.lock.yaml"


def read_lock(root: Node | None, problems: Problems) -> Mapping[str, str]:
    """Digests by model name, as the file has them; an empty file pins nothing."""
    if root is None or is_null(root):
        return {}
    try:
        return LOCK.read(root, problems, "the lock file").get(DIGESTS) or {}
    except Refused:
        return {}


def pinned(models: Iterable[ModelSpec], lock: Mapping[str, str], root: Node | None, problems: Problems) -> tuple[ModelSpec, ...]:
    """The models with the digests of the lock file; a model's own `digest` wins. Warns of both at once, and of names nobody wants."""
    models = tuple(models)
    digests = root.get(DIGESTS.key) if isinstance(root, MapNode) else None
    chosen = {model.name for model in models if model.variants}
    own = {model.name: model.digest for model in models}
    for name, locked in lock.items():
        at = digests.key(name) if isinstance(digests, MapNode) else None
        if name not in own:
            problems.warn(f"the lock file pins {name!r}, which is no model of the desired state", at, "run gpurec pin to write it again")
        elif name in chosen:
            problems.warn(
                f"the lock file pins {name!r}, which has variants with weights of their own", at, "run gpurec pin to write it again"
            )
        elif own[name] not in (None, locked):
            problems.warn(f"model {name!r} has its own digest, so the one of the lock file does not count", at, "remove one of the two")
    wanted = {name: locked for name, locked in lock.items() if name not in chosen}
    return tuple(replace(model, digest=wanted[model.name]) if model.digest is None and model.name in wanted else model for model in models)
