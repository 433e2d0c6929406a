"""Residents that the plan did not know: who came to an engine after the plan was made, and how much it holds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Set

from reconciler.execution.lookup import find_installed
from reconciler.fleet import EngineFacts, EngineId, FleetFacts
from reconciler.planning import Plan, model_steps


def names_reckoned_with(plan: Plan, facts: FleetFacts) -> Mapping[EngineId, Set[str]]:
    """By engine, the names whose bytes the plan counted: what its steps bring; what was found is looked up in the facts themselves."""
    names: dict[EngineId, set[str]] = defaultdict(set)
    for step in model_steps(plan.steps):
        names[step.at].update((step.engine_name, step.base_name))
    for at, known in names.items():
        found = facts.engine(at)
        if found is not None:
            known.update(resident.name for resident in found.residents or ())
    return names


def newcomer_bytes(now: EngineFacts, reckoned: Set[str]) -> int | None:
    """Bytes on cards of residents that the plan did not reckon with; None when nobody can say how many."""
    held = 0
    for resident in now.residents or ():
        if resident.name in reckoned:
            continue
        count = resident.vram_bytes
        if count is None:
            installed = find_installed(now, resident.name)
            count = installed.size_bytes if installed is not None else None
        if count is None:
            return None
        held += count
    return held
