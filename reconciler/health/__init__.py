"""What is wrong with a fleet, told from its facts alone: pure, and each finding with what mends it."""

from __future__ import annotations

from reconciler.health.agents import AgentStatus, agents_of
from reconciler.health.finding import Finding, Level
from reconciler.health.findings import find
from reconciler.health.holders import Holder, holders_by_card
from reconciler.health.joining import cards_of
from reconciler.health.status import ReplicaStatus, replicas_of

__all__ = ["AgentStatus", "Finding", "Holder", "Level", "ReplicaStatus", "agents_of", "cards_of", "find", "holders_by_card", "replicas_of"]
