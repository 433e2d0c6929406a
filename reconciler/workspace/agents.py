"""`agents:` and `services:` of the desired state."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from datetime import date

from reconciler.fleet import (
    AGENT_TYPES,
    AGENTS,
    NO_REQUIREMENT,
    SERVICES,
    AgentEach,
    AgentSpec,
    EngineKind,
    GpuRequirement,
    Near,
    Section,
    WorkspaceError,
    canonical_name,
)
from reconciler.workspace.agent_containers import container
from reconciler.workspace.forms import MOST_BYTES, Form, choice, flag, integer, label, list_of, shortened, text, vram, vram_mebibytes
from reconciler.workspace.problems import Problems, Refused, did_you_mean, nearest
from reconciler.workspace.requires import CAPABILITY
from reconciler.workspace.sections import SectionContext, SectionForm
from reconciler.workspace.table import Field, Table, Values
from reconciler.workspace.tree import ListNode, MapNode, Node, ScalarNode, is_null, what_is

MOST_AGENTS = 1_000_000
MOST_CONFIG = 65_536
"""Bytes of `config` or `llm` of one agent, as JSON."""
MOST_DEPTH = 32
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
_WRITTEN_BY_US = ("model", "api_base")
"""Keys of `llm` that follow from where the agent's model is."""


def _json(node: Node, problems: Problems, name: str, depth: int = 0) -> object:
    """A value of any shape, as JSON has it; dates as they are written."""
    if node.tag is not None:
        raise problems.refuse(f"{name} is tagged {node.tag}, which gpurec cannot read", node, "write it plainly")
    if depth > MOST_DEPTH:
        raise problems.refuse(f"{name} is nested deeper than {MOST_DEPTH} levels", node, "write it flatter")
    if isinstance(node, MapNode):
        found: dict[str, object] = {}
        for key, held in node.entries.values():
            found[key.text] = _json(held, problems, f"{name}.{shortened(key.text)[1:-1]}", depth + 1)
        return found
    if isinstance(node, ListNode):
        return [_json(item, problems, f"an item of {name}", depth + 1) for item in node.items]
    value = node.value
    if isinstance(value, date):
        return node.text
    if isinstance(value, float) and not abs(value) < float("inf"):
        raise problems.refuse(f"{name} is {node.text}, which JSON does not have", node, "write a number")
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > MOST_BYTES:
        raise problems.refuse(f"{name} is a number of more than 64 bits", node, "write it in quotes")
    return value if isinstance(value, str | int | float | bool) or value is None else node.text


def _mapping(node: Node, problems: Problems, name: str) -> str:
    """A mapping as JSON text, with sorted keys."""
    if not isinstance(node, MapNode):
        raise problems.refuse(f"{name} must be a mapping, this is {what_is(node)}", node, "write `key: value` lines")
    found = json.dumps(_json(node, problems, name), sort_keys=True, indent=2, ensure_ascii=False)
    if len(found.encode()) > MOST_CONFIG:
        raise problems.refuse(f"{name} is larger than {MOST_CONFIG:,} bytes", node, "mount a file with `volumes:` instead")
    return found


_OBJECT = {"type": "object"}
_requirement_vram = Field(
    "min_vram",
    vram,
    says="The least size of the card.",
    mib_keys=("min_vram_mb",),
    mib_form=vram_mebibytes,
    meant="vram vram_mb memory min_memory",
)
REQUIREMENT = Table("gpu_requirement", (_requirement_vram, CAPABILITY))


def _requirement(node: Node, problems: Problems, name: str) -> GpuRequirement:
    values = REQUIREMENT.read(node, problems, name)
    return GpuRequirement(values.get(_requirement_vram), values.get(CAPABILITY))


TYPE = Field("type", label, says="A word of yours for what it does.", meant="agent_type kind role")
ON = Field(
    "on",
    text,
    says="Pattern of the hosts where it may run; the default is all.",
    meant="nodes node hosts host group groups where target targets placement",
)
REPLICAS = Field(
    "replicas",
    integer(0, MOST_AGENTS),
    says="How many of them; the default is 1.",
    meant="count instances copies number replica scale",
    not_with=("each",),
)
EACH = Field(
    "each", choice(AgentEach), says="One for each node or card, instead of a number.", meant="per for_each", not_with=("replicas",)
)
REQUIRES_GPU = Field(
    "requires_gpu",
    flag,
    says="Whether it needs a card; the default follows from its requirement, else from its model.",
    meant="gpu needs_gpu use_gpu",
)
MODEL = Field(
    "model", label, says="The model that it uses: one of `models:`, or a name that a resident answers to.", meant="models llm_model"
)
NEAR = Field("near", choice(Near), says="Whether it must run on the node of its model (`node`), or anywhere (`any`, default).")
REQUIREMENT_FIELD = Field(
    "gpu_requirement",
    Form(_requirement, REQUIREMENT.schema()),
    says="What the card must have that its model runs on, or its own where it has no model.",
    meant="gpu_requirements requires requirements",
)
CONTAINER = Field("container", container, says="The container that it runs as.", required=True, meant="docker image")
DEPENDS_ON = Field(
    "depends_on", list_of(label), says="Agents and services that start before it and stop after it.", meant="needs after links"
)
CONFIG = Field(
    "config",
    Form(_mapping, _OBJECT),
    says="Its configuration, which it finds in /etc/gpurec/agent.json.",
    meant="configuration settings options",
)
LLM = Field(
    "llm",
    Form(_mapping, _OBJECT),
    says="Its settings of the model, which it finds in /etc/gpurec/llm.json, with the address of the engine that placement chose.",
    meant="llm_config",
)
AGENT = Table("agent", (TYPE, ON, REPLICAS, EACH, REQUIRES_GPU, MODEL, NEAR, REQUIREMENT_FIELD, CONTAINER, DEPENDS_ON, CONFIG, LLM))
SERVICE = Table("service", (ON, REPLICAS, EACH, CONTAINER, DEPENDS_ON, CONFIG))
AGENT_TYPE = Table("agent type", (ON, REQUIREMENT_FIELD, CONTAINER, DEPENDS_ON, LLM))
_TABLES = {AGENTS.key: AGENT, SERVICES.key: SERVICE, AGENT_TYPES.key: AGENT_TYPE}
_SAID = {
    AGENTS.key: "Containers that use a model or a card, by name.",
    SERVICES.key: "Containers that agents need and that use no model, such as a queue, by name.",
    AGENT_TYPES.key: "What agents are made of that are asked for over HTTP, by their type.",
}


NAME_HINT = "write letters, digits, `_`, `.` and `-`, at most 63"


def wrong_name(name: str, whose: str) -> str | None:
    """Why an agent or a service cannot be called so; None: it can."""
    return None if _NAME.fullmatch(name) else f"{shortened(name)} cannot be the name of {whose}: containers are named after it"


class _Reader:
    """Reads one of the sections; the names of the others are known by their nodes."""

    def __init__(self, context: SectionContext, key: str) -> None:
        self._context, self._problems, self._key = context, context.problems, key
        self._service, self._type, self._what = key == SERVICES.key, key == AGENT_TYPES.key, _TABLES[key].what
        self._names = {name for key in (AGENTS.key, SERVICES.key) for name in _keys(context.siblings.get(key))}
        self._models = _models(context)
        self._nodes: dict[str, tuple[str, ...]] = {}

    def read(self, node: Node) -> tuple[AgentSpec, ...]:
        key = self._key
        if not isinstance(node, MapNode) or node.tag is not None:
            raise self._problems.refuse(f"{key!r} must be a mapping, this is {what_is(node)}", node, "write `NAME:` lines under it")
        others = self._context.siblings.get(AGENTS.key) if self._service else None
        found = []
        for word, (name, value) in node.entries.items():
            if isinstance(others, MapNode) and word in others.entries:
                first = others.entries[word][0]
                self._problems.error(f"{name.text!r} is an agent, at {first.place}, and a service", name, "give one of them another name")
            try:
                found.append(self._one(name, value))
            except Refused:
                continue
        return tuple(found)

    def _one(self, key: ScalarNode, node: Node) -> AgentSpec:
        problems, name = self._problems, key.text
        if (why := None if self._type else wrong_name(name, "a service" if self._service else "an agent")) is not None:
            raise problems.refuse(why, key, NAME_HINT)
        where = f"{self._what} {name!r}"
        values = _TABLES[self._key].read(node, problems, where)
        self._check(values, where)
        made = values.get(CONTAINER)
        on = values.get(ON) or "all"
        nodes = self._hosts(on, values.nodes.get(ON.key, key), where)
        if made is None:
            raise Refused
        each, replicas = values.get(EACH), values.get(REPLICAS)
        depends_on = values.get(DEPENDS_ON) or ()
        for one in depends_on:
            if one == name or one not in self._names:
                what = f"{where} depends on {one!r}, which is " + ("itself" if one == name else "no agent and no service")
                problems.error(what, values.nodes[DEPENDS_ON.key], did_you_mean(one, self._names - {name}))
        model = values.get(MODEL)
        return AgentSpec(
            name,
            nodes,
            made[0],
            on,
            values.get(TYPE),
            None if each is not None else 1 if replicas is None else replicas,
            each,
            values.get(REQUIRES_GPU),
            self._declared(model, values.nodes[MODEL.key], where) if model is not None else None,
            values.get(NEAR) or Near.ANY,
            values.get(REQUIREMENT_FIELD) or NO_REQUIREMENT,
            tuple(dict.fromkeys(depends_on)),
            values.get(CONFIG),
            values.get(LLM),
            self._service,
            made[1],
        )

    def _check(self, values: Values, where: str) -> None:
        problems = self._problems
        if REPLICAS in values and EACH in values:
            problems.error(
                f"{where} has both `replicas` and `each`", values.nodes[EACH.key], "keep one: a number of agents, or one for each place"
            )
        if NEAR in values and values.lacks(MODEL):
            problems.error(f"{where} has `near` and no model", values.nodes[NEAR.key], "remove it, or name the model with `model:`")
        if values.get(REQUIRES_GPU) is False and REQUIREMENT_FIELD in values:
            problems.error(
                f"{where} requires no GPU and has a gpu_requirement", values.nodes[REQUIREMENT_FIELD.key], "remove one of the two"
            )
        if LLM in values and (MODEL in values or self._type):
            written = values.nodes[LLM.key]
            for word in _WRITTEN_BY_US:
                if (key := written.key(word) if isinstance(written, MapNode) else None) is not None:
                    hint = "remove it: gpurec writes it by the engine on which the model is"
                    why = "which follows from the model of each" if self._type else "and the agent has a model"
                    problems.error(f"'llm' of {where} has {word!r}, {why}", key, hint)

    def _declared(self, model: str, node: Node, where: str) -> str:
        """The name under which `models:` has it: a model is one by its canonical form. Any other may be a resident's."""
        found = self._models.get(canonical_name(EngineKind.OLLAMA, model)) if model not in self._models.values() else model
        if found is not None:
            return found
        if (near := nearest(model, self._models.values())) is not None:
            what = f"model {model!r} of {where} is none of `models:`, so it waits for a resident of that name"
            self._problems.warn(what, node, f"did you mean {near!r}?")
        return model

    def _hosts(self, on: str, node: Node, where: str) -> tuple[str, ...]:
        """The hosts that a pattern names, of which one at least must run containers; told once a pattern."""
        inventory, fleet = self._context.inventory, self._context.fleet
        if inventory is None:
            return ()
        if on not in self._nodes:
            try:
                self._nodes[on] = inventory.match(on)
            except WorkspaceError as error:
                problem = error.problems[0]
                self._problems.error(f"{where}: {problem.what}", node, problem.hint)
                return ()
        found = self._nodes[on]
        if not found:
            self._problems.error(f"{where}: the pattern {on!r} leaves no host", node, "write a pattern that names at least one host")
        elif fleet is not None and not any(fleet.nodes[name].docker is not None for name in found):
            what = f"{where}: none of the {len(found)} hosts of {on!r} says where its containers run"
            self._problems.error(what, node, "declare `docker: unix:///var/run/docker.sock`, or ssh://USER@HOST, on such a host")
        return found


def _keys(node: Node | None) -> Iterator[str]:
    if isinstance(node, MapNode):
        yield from (key.text for key, _ in node.entries.values())


def _models(context: SectionContext) -> Mapping[str, str]:
    """The names of `models:` and `priority_models`, by their canonical form on Ollama (the only engine on which two names are one)."""
    names = [*_keys(context.siblings.get("models"))]
    listed = context.siblings.get("priority_models")
    names += [item.text for item in listed.items if isinstance(item, ScalarNode)] if isinstance(listed, ListNode) else []
    return {canonical_name(EngineKind.OLLAMA, name): name for name in reversed(names)}


def _refuse_rings(found: tuple[AgentSpec, ...], context: SectionContext, key: str) -> None:
    """Agents that wait for each other. Those of services are among `depends_on` by name, so both sections are read from their nodes."""
    waits = {name: [*_depends(node)] for key in (AGENTS.key, SERVICES.key) for name, node in _entries(context.siblings.get(key))}
    done: set[str] = set()
    for name in sorted(one.name for one in found):
        trail: list[str] = []
        if (ring := _ring(name, waits, done, trail)) is not None:
            entry = context.siblings[key]
            at = entry.key(name) if isinstance(entry, MapNode) else None
            context.problems.error(f"they wait for each other: {' → '.join(ring)}", at or entry, "remove one of these depends_on")


def _ring(name: str, waits: Mapping[str, list[str]], done: set[str], trail: list[str]) -> list[str] | None:
    if name in trail:
        return [*trail[trail.index(name) :], name]
    if name in done:
        return None
    trail.append(name)
    for one in waits.get(name, ()):
        if (ring := _ring(one, waits, done, trail)) is not None:
            return ring
    trail.pop()
    done.add(name)
    return None


def _entries(node: Node | None) -> Iterator[tuple[str, Node]]:
    if isinstance(node, MapNode):
        yield from ((key.text, value) for key, value in node.entries.values())


def _depends(node: Node) -> Iterator[str]:
    listed = node.get(DEPENDS_ON.key) if isinstance(node, MapNode) else None
    if isinstance(listed, ListNode):
        yield from (item.text for item in listed.items if isinstance(item, ScalarNode) and not is_null(item))


def _read(node: Node, context: SectionContext, key: str) -> tuple[AgentSpec, ...]:
    found = _Reader(context, key).read(node)
    if found and key != AGENT_TYPES.key:  # nothing waits for a type
        _refuse_rings(found, context, key)
    return found


def _form(section: Section[tuple[AgentSpec, ...]]) -> SectionForm:
    schema = {"type": "object", "additionalProperties": _TABLES[section.key].schema()}
    return SectionForm(section, lambda node, context: _read(node, context, section.key), schema, _SAID[section.key])


AGENTS_FORM, SERVICES_FORM, AGENT_TYPES_FORM = map(_form, (AGENTS, SERVICES, AGENT_TYPES))
