"""Agents that were allocated over HTTP, laid over the files of a workspace."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import replace

from reconciler.fleet import (
    AGENT_TYPES,
    AGENTS,
    NO_REQUIREMENT,
    SERVICES,
    AgentSpec,
    AllocatedAgent,
    EngineKind,
    GpurecError,
    canonical_name,
)
from reconciler.workspace.agents import MOST_CONFIG, MOST_DEPTH, NAME_HINT, wrong_name
from reconciler.workspace.forms import MOST_BYTES
from reconciler.workspace.load import Workspace
from reconciler.workspace.problems import did_you_mean
from reconciler.workspace.tree import PlainValues


class NameTaken(GpurecError):
    """Another agent or service of that name is wanted already."""


class UnknownType(GpurecError):
    """The files declare no such type of agents."""


def with_allocated(space: Workspace, agents: Iterable[AllocatedAgent]) -> tuple[Workspace, tuple[AllocatedAgent, ...]]:
    """The workspace as if its files asked for these agents too, and those of them that count: an agent or a service of that name in the
    files takes its place, and one whose type left the files is not wanted any more. The config digest is over both then."""
    types = {one.name: one for one in AGENT_TYPES.of(space.desired)}
    taken = names_of_files(space)
    counting = tuple(one for one in agents if one.name not in taken and one.type in types)
    if not counting:
        return space, ()
    models = {canonical_name(EngineKind.OLLAMA, one.name): one.name for one in reversed(space.desired.wanted)}
    known = {one.name for one in space.desired.wanted}
    specs = [_spec(types[one.type], one, models, known) for one in counting]
    sections = {**space.desired.sections, AGENTS.key: (*AGENTS.of(space.desired), *specs)}
    rows = [[one.name, one.type, one.model, one.config, one.requires_gpu] for one in counting]
    digest = "sha256:" + hashlib.sha256(json.dumps(["allocated", rows, space.config_digest]).encode()).hexdigest()
    return replace(space, desired=replace(space.desired, sections=sections), config_digest=digest), counting


def names_of_files(space: Workspace) -> frozenset[str]:
    """What the files call their agents and services."""
    return frozenset(one.name for one in (*AGENTS.of(space.desired), *SERVICES.of(space.desired)))


def _spec(kind: AgentSpec, one: AllocatedAgent, models: dict[str, str], known: set[str]) -> AgentSpec:
    model = one.model if one.model is None or one.model in known else models.get(canonical_name(EngineKind.OLLAMA, one.model), one.model)
    requirement = NO_REQUIREMENT if one.requires_gpu is False else kind.requirement
    config = None if one.config is None else config_text(json.loads(one.config))
    return replace(kind, name=one.name, type=one.type, model=model, requires_gpu=one.requires_gpu, config=config, requirement=requirement)


def config_text(config: object) -> str:
    """A config as the container finds it, the same as one of the files."""
    return json.dumps(config, sort_keys=True, indent=2, ensure_ascii=False)


def check_allocation(space: Workspace, agent: AllocatedAgent) -> None:
    """Raises NameTaken, UnknownType, and GpurecError for an agent that cannot be. `space` is without what was allocated."""
    types = [one.name for one in AGENT_TYPES.of(space.desired)]
    if (why := wrong_name(agent.name, "an agent")) is not None:
        raise GpurecError.of(why, "name", NAME_HINT)
    if agent.name in names_of_files(space):
        raise NameTaken.of(f"the files have an agent or a service {agent.name!r}", "name", "give it another name")
    if agent.type not in types:
        hint = did_you_mean(agent.type, types) if types else "declare it under agent_types: in the desired state"
        raise UnknownType.of(f"there is no agent type {agent.type!r}", "type", hint)
    config = None if agent.config is None else json.loads(agent.config)
    if (why := _wrong_value(config)) is not None:
        raise GpurecError.of(f"config has {why}", "config", "write what a file could say")
    if config is not None and len(config_text(config).encode()) > MOST_CONFIG:
        raise GpurecError.of(f"config is larger than {MOST_CONFIG:,} bytes", "config", "mount a file with `volumes:` of its type instead")


def _wrong_value(value: object, depth: int = 0) -> str | None:
    """What a `config:` of the files could not hold either, so that what is kept can always be written, and written into files."""
    if depth > MOST_DEPTH:
        return f"more than {MOST_DEPTH} levels"
    if isinstance(value, dict):
        return next((why for each in (*value, *value.values()) if (why := _wrong_value(each, depth + 1)) is not None), None)
    if isinstance(value, list):
        return next((why for each in value if (why := _wrong_value(each, depth + 1)) is not None), None)
    if isinstance(value, float) and not abs(value) < float("inf"):
        return "a number that JSON does not have"
    if isinstance(value, int) and abs(value) > MOST_BYTES:
        return "a number of more than 64 bits"
    if isinstance(value, str) and any("\ud800" <= character <= "\udfff" for character in value):
        return "half a character (U+D800 to U+DFFF)"
    return None


def as_declared(space: Workspace, agents: Sequence[AllocatedAgent]) -> dict[str, object]:
    """What `agents:` would say of these agents, as plain values: what is declared of their type, and what was asked for."""
    section = space.declared.get(AGENT_TYPES.key) if space.declared is not None else None
    plain = PlainValues().of(section) if section is not None else {}
    types = plain if isinstance(plain, dict) else {}
    found: dict[str, object] = {}
    for one in agents:
        kind = dict(types.get(one.type) or {})
        if one.requires_gpu is False:
            kind.pop("gpu_requirement", None)
        asked = {"type": one.type, "model": one.model, "requires_gpu": one.requires_gpu}
        config = {} if one.config is None else {"config": json.loads(one.config)}
        found[one.name] = {**{key: value for key, value in asked.items() if value is not None}, **kind, **config}
    return found
