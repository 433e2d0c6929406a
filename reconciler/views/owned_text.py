"""Engines in containers of somebody's as the text of an inventory in which they are gpurec's own, in YAML. Names are data."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence

from reconciler.fleet import EngineContainer, Mount, SecretRef
from reconciler.planning.importing import LeftOut
from reconciler.planning.kinds.engine.owning import Adoptable
from reconciler.views.desired_text import yaml_scalar
from reconciler.views.escape import escape

NodeEngines = tuple[str, Mapping[str, object], Mapping[str, Adoptable]]
"""A host's name, its variables as they are, and its engines that change."""
_SAID_OTHERWISE = ("url", "runtime", "env", "args", "port", "container", "tls", "kind")


def owned_text(fleet: str, at: str, nodes: Sequence[NodeEngines], left: Sequence[LeftOut]) -> str:
    """An inventory file that comes after the one there is: its hosts have all their engines, those of `nodes`, one or more, as
    gpurec's own. `at` is when they were looked at."""
    return "".join(f"{line}\n" for line in _lines(fleet, at, nodes, left))


def _lines(fleet: str, at: str, nodes: Sequence[NodeEngines], left: Sequence[LeftOut]) -> Iterator[str]:
    yield f"# Engines of the fleet {escape(fleet)} that ran in containers at {escape(at)}, as gpurec import --own found them."
    yield "# The next apply adopts each container as it is; gpurec replaces it where you change what it is made of, and removes it where"
    yield "# you take its engine out. Take it out of whatever else starts it."
    yield from (f"# Left out: {escape(one.what)}: {escape(one.why)}" for one in left)
    yield "all:"
    yield "  hosts:"
    for name, variables, engines in nodes:
        yield f"    {yaml_scalar(name)}:"
        below = variables.get("gpurec")
        whole: Mapping[str, object] = below if isinstance(below, dict) else variables
        indent = "      "
        if whole is below:
            yield f"{indent}gpurec:"
            indent += "  "
            yield from (f"{indent}{yaml_scalar(str(key))}: {flow(value)}" for key, value in whole.items() if key != "engines")
        yield f"{indent}engines:"
        before = whole.get("engines")
        for engine, declared in (before if isinstance(before, dict) else {}).items():
            if engine not in engines:
                yield f"{indent}  {yaml_scalar(str(engine))}: {flow(declared)}"
                continue
            kept = {key: value for key, value in declared.items() if key not in _SAID_OTHERWISE} if isinstance(declared, dict) else {}
            yield from _engine(indent + "  ", str(engine), engines[engine], kept)


def _engine(indent: str, name: str, one: Adoptable, kept: Mapping[str, object]) -> Iterator[str]:
    owned = one.engine.owned
    assert owned is not None
    assert isinstance(owned.start, EngineContainer)
    yield f"{indent}{yaml_scalar(name)}:"
    indent += "  "
    yield f"{indent}# container {escape(one.found.name)} of {escape(one.found.whose)}"
    yield f"{indent}kind: {one.engine.kind.value}"
    yield f"{indent}runtime: container"
    yield f"{indent}port: {owned.port}"
    yield from (f"{indent}{yaml_scalar(str(key))}: {flow(value)}" for key, value in kept.items())
    if owned.env:
        yield f"{indent}env:"
        if one.hidden:
            yield f"{indent}  # Values of {escape(', '.join(one.hidden))} were not read: they are taken from gpurec's environment."
        yield from (f"{indent}  {yaml_scalar(key)}: {_variable(value)}" for key, value in sorted(owned.env.items()))
    if owned.args:
        yield f"{indent}args: {flow(list(owned.args))}"
    yield f"{indent}container:"
    yield from (f"{indent}  {key}: {flow(value)}" for key, value in _container(owned.start).items())


def _container(start: EngineContainer) -> Mapping[str, object]:
    found: dict[str, object] = {"adopt": start.adopt, "image": start.image, "restart": start.restart}
    optional = {
        "publish": start.publish,
        "volumes": [_mount(one) for one in start.volumes],
        "groups": list(start.groups),
        "networks": list(start.networks),
        "command": list(start.command) if start.command is not None else None,
        "entrypoint": list(start.entrypoint) if start.entrypoint is not None else None,
        "shm_size": f"{start.shm_size}B" if start.shm_size is not None else None,
        "cpus": start.cpus,
        "memory": f"{start.memory}B" if start.memory is not None else None,
        "privileged": start.privileged or None,
    }
    return found | {key: value for key, value in optional.items() if value not in (None, [])}


def _mount(one: Mount) -> str:
    return f"{one.source or one.kind}:{one.target}{':ro' if one.read_only else ''}"


def _variable(value: str | SecretRef) -> str:
    return str(value) if isinstance(value, SecretRef) else json.dumps(value, ensure_ascii=False)


def flow(value: object) -> str:
    """A value as JSON writes it, which YAML reads too."""
    return yaml_scalar(value) if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
