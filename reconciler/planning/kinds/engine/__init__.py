"""An engine that gpurec starts: how its process is to be, and what that means for the models on it. Pure."""

from __future__ import annotations

from reconciler.planning.kinds.engine.joining import Joined, joined, waits_for_models
from reconciler.planning.kinds.engine.kind import ENGINE, EngineStep, OwnedEngineKind, WantedEngine
from reconciler.planning.kinds.engine.shared_store import one_pull_at_a_time
from reconciler.planning.kinds.engine.single import takes_one_model
from reconciler.planning.kinds.engine.starting import Starting, restarts, starting

__all__ = [
    "ENGINE",
    "EngineStep",
    "Joined",
    "OwnedEngineKind",
    "Starting",
    "WantedEngine",
    "joined",
    "one_pull_at_a_time",
    "restarts",
    "starting",
    "takes_one_model",
    "waits_for_models",
]
