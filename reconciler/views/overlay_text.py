"""Agents that were allocated over HTTP as the text of a desired state, in YAML. Names are data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from reconciler.views.desired_text import yaml_scalar
from reconciler.views.escape import escape
from reconciler.views.owned_text import flow


def overlay_text(fleet: str, agents: Mapping[str, object]) -> str:
    """A file that stands beside the others of a desired state. `agents` are plain values, by name."""
    return "".join(f"{line}\n" for line in _lines(fleet, agents))


def _lines(fleet: str, agents: Mapping[str, object]) -> Iterator[str]:
    yield f"# Agents of the fleet {escape(fleet)} that were allocated over HTTP, as gpurec import --overlay found them."
    yield "# Beside the other files of the desired state it takes their place: what the files say of a name counts."
    yield "version: 1"
    yield "agents:" if agents else "agents: {}"
    for name, declared in agents.items():
        yield f"  {yaml_scalar(name)}:"
        if isinstance(declared, Mapping):
            yield from (f"    {yaml_scalar(str(key))}: {flow(value)}" for key, value in declared.items())
