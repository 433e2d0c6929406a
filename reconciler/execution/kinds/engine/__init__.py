"""Starts, replaces and removes engines."""

from __future__ import annotations

from reconciler.execution.kinds.engine.actor import EngineActor

__all__ = ["EngineActor"]
