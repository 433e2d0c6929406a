"""Which engine or card each agent uses, and on which node it runs, once the models have their places. Pure."""

from __future__ import annotations

from reconciler.placement.agents.offers import Offer
from reconciler.placement.agents.place import Hosts, place_agents
from reconciler.placement.agents.result import AgentPlace, AgentPlacement, UnplacedAgents

__all__ = ["AgentPlace", "AgentPlacement", "Hosts", "Offer", "UnplacedAgents", "place_agents"]
