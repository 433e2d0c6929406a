"""A saved plan of which a part is done, expressed as a state: what is planned after it keeps its places."""

from __future__ import annotations

from dataclasses import replace

from reconciler.fleet import AGENT, Applied, AppliedReplica, AppliedResource
from reconciler.planning.kinds.model.step import model_steps
from reconciler.planning.plan import Action, Plan

_BRINGS = (Action.LOAD, Action.RELOAD, Action.ADOPT)


def as_begun(plan: Plan, applied: Applied) -> Applied:
    """The state as if all that a plan brings were there. Where its agents go hangs on where the others are: made of this state, a plan
    keeps each of them where that one has it, as far as it may still be there."""
    replicas, resources = dict(applied.replicas), dict(applied.resources)
    for step in model_steps(plan.steps):
        if step.action in _BRINGS and step.address in plan.placed:
            replicas.setdefault(step.address, AppliedReplica(step.address, step.model, step.at, step.engine_name))
    for one in plan.steps:
        if one.kind != AGENT:
            continue
        if one.action is Action.REMOVE:
            resources.pop(one.address, None)
        else:
            fields = {name: value for name, value in one.after.items() if value is not None}
            resources[one.address] = AppliedResource(one.address, fields)
    return replace(applied, replicas=replicas, resources=resources)
