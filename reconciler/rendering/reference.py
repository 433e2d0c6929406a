"""What templates see, as tables for the docs: made of the values themselves, so that it cannot lag behind them."""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import fields
from typing import Union, get_args, get_origin, get_type_hints

from reconciler.rendering.containers import ContainerValue, MountValue, PortValue
from reconciler.rendering.parts import AgentValue, EngineValue, GpuValue, ModelValue, NodeValue, ReplicaValue, SettingsValue
from reconciler.rendering.routes import RouteValue, TargetValue
from reconciler.rendering.secret import Secret
from reconciler.rendering.shapes import SAYS
from reconciler.rendering.values import TemplateValues

_TOLD: Mapping[type, str] = {
    NodeValue: "node",
    EngineValue: "engine",
    GpuValue: "gpu",
    ModelValue: "model",
    ReplicaValue: "replica",
    RouteValue: "route",
    TargetValue: "target",
    AgentValue: "agent",
    ContainerValue: "container",
    PortValue: "port",
    MountValue: "mount",
    SettingsValue: "settings",
}
_PLAIN = {Secret: "secret", str: "text", int: "number", float: "number", bool: "true or false", type(None): "none"}


def values_table() -> str:
    """Markdown tables of every value with its fields and their types."""
    lines = _rows("A template sees", TemplateValues)
    for value, word in _TOLD.items():
        lines += ["", *_rows(f"`{word}`", value)]
    return "\n".join(lines) + "\n"


def _rows(name: str, value: type) -> list[str]:
    hints = get_type_hints(value)
    lines = [f"| {name} | type | |", "|---|---|---|"]
    return lines + [f"| `{one.name}` | {_word(hints[one.name])} | {one.metadata[SAYS]} |" for one in fields(value)]


def _word(hint: object) -> str:
    if isinstance(hint, type) and hint in _TOLD:
        return f"a `{_TOLD[hint]}`"
    if isinstance(hint, type) and hint in _PLAIN:
        return _PLAIN[hint]
    origin, args = get_origin(hint), get_args(hint)
    if origin is tuple:
        return f"list of {_word(args[0]).removeprefix('a ')}"
    if origin is Mapping:
        return f"mapping of {_word(args[0])} to {_word(args[1])}"
    assert origin in (Union, types.UnionType), hint
    words = [_word(arg) for arg in args]
    return ", ".join(words[:-1]) + f" or {words[-1]}"
