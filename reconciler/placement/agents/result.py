"""Where each agent is to be, and which have no place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from reconciler.capacity import Card
from reconciler.fleet import AgentSpec, agent_address
from reconciler.placement.agents.offers import Offer
from reconciler.value_class import value_class


@dataclass(slots=True, eq=False)
class AgentPlace:
    """One agent: its node and its number there, the engine of its model, or the card that it is given with the bytes charged to it."""

    spec: AgentSpec
    node: str
    number: int
    offer: Offer | None = None
    card: Card | None = None
    card_bytes: int = 0

    @property
    def address(self) -> str:
        return agent_address(self.spec.name, self.number, self.node)


@value_class
class UnplacedAgents:
    """`count` agents of one name without a place. `where` has what was asked (engines, cards as NODE/CARD, nodes) with the reason of each
    as a code and in words, bounded; `counts` all of them by code; `reason` is the whole in a sentence without its subject."""

    spec: AgentSpec
    count: int
    reason: str
    where: tuple[tuple[str, str, str], ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    node: str | None = None


@dataclass(slots=True)
class AgentPlacement:
    """`places` are in order of address; `agents` counts by card those that have their model, or their own part, there."""

    places: list[AgentPlace] = field(default_factory=list)
    unplaced: list[UnplacedAgents] = field(default_factory=list)
    agents: dict[Card, int] = field(default_factory=dict)
