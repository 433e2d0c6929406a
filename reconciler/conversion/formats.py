"""The formats that are read, and which of them a file is, told by its own keys."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from reconciler.conversion import compose, instances, litellm, llamaswap, router
from reconciler.conversion.found import Converted, Found
from reconciler.conversion.text import desired_text, inventory_text
from reconciler.fleet import GpurecError
from reconciler.value_class import value_class
from reconciler.workspace.parse import parse
from reconciler.workspace.problems import Problems
from reconciler.workspace.scalars import YamlVersion
from reconciler.workspace.tree import MapNode


@value_class
class Format:
    """`is_this` tells a file by its content; `read` takes it into what was found."""

    tool: str
    is_this: Callable[[MapNode], bool]
    read: Callable[[MapNode, Found], None]


FORMATS: Mapping[str, Format] = {
    "llama-swap": Format("llama-swap", llamaswap.is_this, llamaswap.read),
    "litellm": Format("LiteLLM", litellm.is_this, litellm.read),
    "compose": Format("Docker Compose", compose.is_this, compose.read),
    "router": Format("a daemon that keeps models on cards", router.is_this, router.read),
    "instances": Format("Ollama instances", instances.is_this, instances.read),
}
MOST_BYTES = 4 * 2**20


def convert(text: str, file: str, form: str | None = None) -> Converted:
    """Reads the YAML of a foreign file in the format that its content has, or in the one that is named (a key of FORMATS).

    Raises WorkspaceError where it is not YAML or beyond the bounds of all YAML that is read, GpurecError where its format is not known or
    it names no engine.
    """
    problems = Problems()
    root = parse(text, file, YamlVersion.V1_2, problems)
    problems.raise_if_any()
    if not isinstance(root, MapNode):
        raise GpurecError.of("this file holds no mapping, so it is none of the formats that can be read", file, hint=_known())
    name = form if form is not None else next((name for name, one in FORMATS.items() if one.is_this(root)), None)
    if name is None:
        raise GpurecError.of("the format of this file is not told by its keys", file, hint=_known())
    chosen = FORMATS[name]
    found = Found(chosen.tool)
    chosen.read(root, found)
    if not found.hosts:
        told = f"; the first that is not: {found.left[0].key} at {found.left[0].where}: {found.left[0].reason}" if found.left else ""
        raise GpurecError.of(
            f"nothing in this file of {chosen.tool} can be carried over{told}", file, hint=None if chosen.is_this(root) else _known()
        )
    left = sorted(found.left, key=lambda one: (one.where.line or 0, one.where.column or 0, one.key, one.reason))
    engines = sum(len(engines) for _, engines in found.hosts.values())
    return Converted(inventory_text(found), desired_text(found), engines, len(found.models), tuple(dict.fromkeys(left)))


def _known() -> str:
    return f"say which it is with --format: {', '.join(FORMATS)}"
