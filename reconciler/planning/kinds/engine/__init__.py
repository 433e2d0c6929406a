"""An engine that gpurec starts: how its process is to be, and what that means for the models on it. Pure."""

from __future__ import annotations

from reconciler.planning.kinds.engine.kind import ENGINE, EngineKind, EngineStep, WantedEngine
from reconciler.planning.kinds.engine.starting import Starting, joined, starting

__all__ = ["ENGINE", "EngineKind", "EngineStep", "Starting", "WantedEngine", "joined", "starting"]
