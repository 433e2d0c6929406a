"""Evictions that a load of this run brought about: noted as they are seen, since the facts recorded at its end no longer tell of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from reconciler.fleet import EngineFacts, EngineId, ModelSpec, parse_replica_address
from reconciler.planning import EVICTED, Action, Plan, asked_digest, evicted_by, model_steps
from reconciler.state import StateWriter

_OURS_TO_MOVE = frozenset({Action.UNLOAD, Action.RELOAD})


class Evictions:
    """Looks after each load what its engine threw out for it. A replica that this run itself unloads or reloads is never taken for one."""

    def __init__(self, plan: Plan, models: Mapping[str, ModelSpec], state: StateWriter) -> None:
        self._models, self._state = models, state
        moved = {step.address for step in plan.steps if step.action in _OURS_TO_MOVE}
        engines = {step.at for step in model_steps(plan.steps)}
        self._at: dict[EngineId, list[tuple[str, str]]] = defaultdict(list)
        for address, name in plan.placed.items() if engines else ():
            model, at = parse_replica_address(address)
            if at in engines and address not in moved and model in models:
                self._at[at].append((address, name))
        self._told: set[str] = set()
        self._last: dict[EngineId, EngineFacts | None] = {}

    def note(self, at: EngineId, first: EngineFacts | None, after: EngineFacts | None) -> None:
        """Keeps what was thrown out since the end of the load before this one (else since the `first` look of this one), once a run: loads
        that were sent at once have the same first look."""
        before, self._last[at] = self._last.get(at, first), after
        for address, name in self._at.get(at, ()):
            evictor = evicted_by(name, before, after) if address not in self._told else None
            if evictor is not None:
                self._told.add(address)
                model, _ = parse_replica_address(address)
                self._state.record_incident(address, EVICTED, asked_digest(self._models[model]), evictor=evictor)
