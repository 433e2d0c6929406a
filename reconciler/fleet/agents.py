"""Agents: containers that use a model, or a card of their own; and services, containers that agents wait for."""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum

from reconciler.fleet.containers import ContainerSpec, PullPolicy
from reconciler.fleet.desired import VersionBound
from reconciler.fleet.resources import AppliedResource, Section, parse_resource_address, resource_address
from reconciler.value_class import value_class

AGENT = "agent"
"""The kind of resource that an agent, or a service, is."""


class AgentEach(StrEnum):
    """What one agent is wanted for."""

    NODE = "node"
    GPU = "gpu"


class Near(StrEnum):
    """Where the engine of an agent's model may be: on the agent's own node, or anywhere."""

    NODE = "node"
    ANY = "any"


@value_class
class GpuRequirement:
    """What the card that an agent's model runs on must have, or the card that the agent is given. `vram` in bytes: of a card that the agent
    is given, they are charged to it."""

    vram: int | None = None
    compute_capability: VersionBound | None = None

    @property
    def asks(self) -> bool:
        return self.vram is not None or self.compute_capability is not None


NO_REQUIREMENT = GpuRequirement()


@value_class
class AgentSpec:
    """One wanted agent or service.

    Exactly one of `replicas` and `each` is set. `nodes` are the nodes that `on` resolved to, in sorted order. `container` is what each of
    its containers has in common: name, fleet and address are those of the place, and empty here. `model` is one of the desired models, or a
    name that a resident answers to. `config` and `llm` are JSON texts, put into the container as files (None: it has none). `service`: it
    is one of `services:`.
    """

    name: str
    nodes: tuple[str, ...]
    container: ContainerSpec
    on: str = "all"
    type: str | None = None
    replicas: int | None = 1
    each: AgentEach | None = None
    requires_gpu: bool | None = None
    model: str | None = None
    near: Near = Near.ANY
    requirement: GpuRequirement = NO_REQUIREMENT
    depends_on: tuple[str, ...] = ()
    config: str | None = None
    llm: str | None = None
    service: bool = False
    pull: PullPolicy = PullPolicy.MISSING

    @property
    def needs_card(self) -> bool:
        """Whether its model must run on a card, or a card be given to it: as the files say, else where they require something of a card.
        Where it is neither, that is its model's affair."""
        return self.requirement.asks if self.requires_gpu is None else self.requires_gpu

    @property
    def takes_card(self) -> bool:
        """Whether it is given a card of its own."""
        return self.model is None and self.needs_card


@value_class
class AllocatedAgent:
    """An agent that somebody asked the service for, wanted beside those of the files. `type` is one of `agent_types:`, which says how its
    container is; `config` is JSON text. `who` is the token that asked, `at` ISO 8601 UTC."""

    name: str
    type: str
    model: str | None
    config: str | None
    requires_gpu: bool | None
    who: str
    at: str

    def asks_as(self, other: AllocatedAgent) -> bool:
        """Whether both ask for the same, whoever and whenever."""
        return replace(self, who=other.who, at=other.at) == other


AGENTS: Section[tuple[AgentSpec, ...]] = Section("agents", ())
SERVICES: Section[tuple[AgentSpec, ...]] = Section("services", ())
AGENT_TYPES: Section[tuple[AgentSpec, ...]] = Section("agent_types", ())
"""What agents have in common that are allocated by their type, which is the name of each."""


def agent_address(name: str, number: int, node: str) -> str:
    """`agent.NAME@NODE`; of the second on a node `agent.NAME#2@NODE`."""
    return resource_address(AGENT, name if number == 1 else f"{name}#{number}", node)


def parse_agent_address(address: str) -> tuple[str, int, str]:
    """Name, number on its node, and node. Raises ValueError."""
    kind, name, node = parse_resource_address(address)
    name, hash_, number = name.partition("#")
    if kind != AGENT or not name or (hash_ and not (number.isascii() and number.isdigit() and number[0] != "0" and len(number) < 8)):
        raise ValueError(f"{address!r} is no address of an agent (agent.NAME@NODE, agent.NAME#2@NODE)")
    return name, int(number) if hash_ else 1, node


# Fields of the state's row of an agent, beside those of its container.
USES = "engine"
"""The engine of its model, as NODE/ENGINE."""
OWN_CARD = "card"
"""The UUID of the card that it was given."""
OWN_BYTES = "card_bytes"
"""The bytes of that card that it is charged with."""
DEPENDS_ON = "depends_on"
"""The names of what it depended on, apart by blanks."""


def own_card_of(row: AppliedResource) -> tuple[str, int] | None:
    """The UUID of the card that an applied agent was given, and the bytes that it is charged with; None where it was given none."""
    card, count = row.fields.get(OWN_CARD), row.fields.get(OWN_BYTES)
    return (str(card), count) if card is not None and isinstance(count, int) and not isinstance(count, bool) else None
