"""Does a step of a saved plan still start from what was approved: is its address as the plan shows it, and did no other run change it?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import field

from reconciler.fleet import FleetFacts, ReplicaChange, Resident, format_ratio
from reconciler.planning.kinds.model.step import ModelStep, model_steps
from reconciler.planning.plan import Action, Plan, Step
from reconciler.value_class import value_class

FRACTION_TOLERANCE = 0.01
"""By so much the share on cards may differ from what the plan shows: engines tell sizes, not shares."""
_CHANGES_RESIDENT = frozenset({Action.RELOAD, Action.UPDATE, Action.UNLOAD})


@value_class
class SinceApproval:
    """What the state tells of the time since a plan was made: by address what changed, and the steps of this very plan that an earlier run
    of it began and did not finish."""

    changes: Mapping[str, Sequence[ReplicaChange]] = field(default_factory=dict)
    unfinished: Set[str] = frozenset()


NOTHING_SINCE = SinceApproval()


def not_as_approved(plan: Plan, step: ModelStep, resident: Resident | None, since: SinceApproval) -> str | None:
    """Why a step that is still to be done starts from something else than was approved, as a sentence without its subject; None where it
    does not. `resident` is what is there now under the step's name, or on its weights."""
    if (why := changed_by_another_run(plan, step, since)) is not None:
        return why
    return None if step.id in since.unfinished else differs_from_before(step, resident)


def changed_by_another_run(plan: Plan, step: Step, since: SinceApproval) -> str | None:
    """Which other run changed the step's address since the plan was made."""
    other = next((one for one in since.changes.get(step.address, ()) if one.plan_digest != plan.digest), None)
    return f"{other.what} changed it since" if other is not None else None


def differs_from_before(step: ModelStep, resident: Resident | None) -> str | None:
    """What the step shows as `before` and is something else now. What is unknown, then or now, differs from nothing."""
    if step.action not in _CHANGES_RESIDENT or not step.before:
        return None
    before = step.before
    if resident is None:
        return f"{before.get('name') or step.engine_name} was resident then and is not now"
    if before.get("name") not in (None, resident.name):
        return f"it runs as {resident.name} now, the plan shows {before['name']}"
    if _unlike(before.get("context"), resident.context):
        return f"it has context {resident.context} now, the plan shows {before['context']}"
    if _unlike(before.get("pinned"), resident.pinned):
        now, then = ("for ever" if resident.pinned else "for a while"), ("for ever" if before["pinned"] else "for a while")
        return f"it is kept {now} now, the plan shows {then}"
    was, fraction = before.get("gpu_fraction"), resident.gpu_fraction
    if isinstance(was, int | float) and fraction is not None and abs(was - fraction) > FRACTION_TOLERANCE:
        return f"{format_ratio(fraction)} of it is on the card now, the plan shows {format_ratio(was)}"
    return None


def first_not_as_approved(plan: Plan, facts: FleetFacts, since: SinceApproval) -> tuple[ModelStep, str] | None:
    """The same for a plan of which every step is still to be done, as the plan of now says; the first such step with its reason."""
    for step in model_steps(plan.steps):
        engine = facts.engine(step.at)
        names = (step.before.get("name"), step.engine_name)
        found = next((one for name in names for one in (engine.residents if engine is not None else None) or () if one.name == name), None)
        if (why := not_as_approved(plan, step, found, since)) is not None:
            return step, why
    return None


def _unlike(was: object, now: object) -> bool:
    return was is not None and now is not None and was != now
