"""An agent: a container that uses a model, or a card of its own. Pure."""

from __future__ import annotations

from reconciler.planning.kinds.agent.kind import AgentKind, AgentStep, WantedAgent, agent_notes
from reconciler.planning.kinds.agent.order import edges_of
from reconciler.planning.kinds.agent.replacing import leaving_cards
from reconciler.planning.kinds.agent.reserved import away_of, given_cards, hosts_of
from reconciler.planning.kinds.agent.unplaced import unplaced_agents

__all__ = [
    "AgentKind",
    "AgentStep",
    "WantedAgent",
    "agent_notes",
    "away_of",
    "edges_of",
    "given_cards",
    "hosts_of",
    "leaving_cards",
    "unplaced_agents",
]
