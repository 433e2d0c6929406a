"""Starts, replaces and removes agents."""

from __future__ import annotations

from reconciler.execution.kinds.agent.actor import AgentActor

__all__ = ["AgentActor"]
