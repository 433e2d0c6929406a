"""An engine that gpurec starts: how its process is to be, and what that means for the models on it. Pure."""

from __future__ import annotations

from reconciler.planning.kinds.engine.joining import Joined, joined, waits_for_models
from reconciler.planning.kinds.engine.kind import ENGINE, EngineStep, OwnedEngineKind, WantedEngine, urls_left
from reconciler.planning.kinds.engine.not_started import with_not_started, with_started
from reconciler.planning.kinds.engine.shared_store import one_pull_at_a_time
from reconciler.planning.kinds.engine.single import takes_one_model
from reconciler.planning.kinds.engine.starting import Starting, away_with_their_server, restarts, starting

__all__ = [
    "ENGINE",
    "EngineStep",
    "Joined",
    "OwnedEngineKind",
    "Starting",
    "WantedEngine",
    "away_with_their_server",
    "joined",
    "one_pull_at_a_time",
    "restarts",
    "starting",
    "takes_one_model",
    "urls_left",
    "waits_for_models",
    "with_not_started",
    "with_started",
]
