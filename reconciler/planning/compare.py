"""Two plans against each other: which steps came, went, or are not what they were."""

from __future__ import annotations

from collections.abc import Mapping

from reconciler.planning.plan import Json, Plan, Step
from reconciler.value_class import value_class

Shown = str | int | float | bool | None


@value_class
class FieldChange:
    """A field of a step or of the plan's head that differs; `before` and `after` are as people read them."""

    name: str
    before: Shown
    after: Shown


@value_class
class StepChange:
    """A step that both plans have, with what differs."""

    before: Step
    after: Step
    fields: tuple[FieldChange, ...]


@value_class
class PlanComparison:
    """`head` holds what differs beside the steps: fleet, lineage, serial, files, selection. `added` and `changed` are in the order of the
    second plan, `removed` in that of the first. `moved`: the same steps in another order."""

    head: tuple[FieldChange, ...]
    added: tuple[Step, ...]
    removed: tuple[Step, ...]
    changed: tuple[StepChange, ...]
    unchanged: int
    moved: bool

    @property
    def same(self) -> bool:
        """Whether both would do the same in the same order."""
        return not (self.added or self.removed or self.changed or self.moved)


def compare_plans(first: Plan, second: Plan) -> PlanComparison:
    """What `second` does otherwise than `first`. A step is the same one when action and address are; linear in the steps."""
    old, new = _by_key(first), _by_key(second)
    kept = [key for key in new if key in old]
    changed = [StepChange(old[key], new[key], fields) for key in kept if (fields := _differences(_step(old[key]), _step(new[key])))]
    return PlanComparison(
        head=_differences(_head(first), _head(second)),
        added=tuple(step for key, step in new.items() if key not in old),
        removed=tuple(step for key, step in old.items() if key not in new),
        changed=tuple(changed),
        unchanged=len(kept) - len(changed),
        moved=kept != [key for key in old if key in new],
    )


_Key = tuple[str, str, int]


def _by_key(plan: Plan) -> dict[_Key, Step]:
    """Steps by action and address; one that is there twice is told by its number."""
    found: dict[_Key, Step] = {}
    for step in plan.steps:
        number = 0
        while (key := (step.action.value, step.address, number)) in found:
            number += 1
        found[key] = step
    return found


def _head(plan: Plan) -> dict[str, Shown]:
    return {
        "fleet": plan.fleet,
        "lineage": plan.lineage,
        "serial": plan.serial,
        "config_digest": plan.config_digest,
        "solver": plan.placement.solver,
        "limit": plan.limit,
        "rollback": plan.rollback,
        "exclude": plan.exclude,
        "unchanged": plan.unchanged,
        "unplaced": sum(one.count for one in plan.unplaced),
        "deferred": len(plan.deferred),
        "drift": len(plan.drift),
    }


def _step(step: Step) -> dict[str, Shown]:
    """What a step is and depends on, without what the digest leaves out too: the estimate of its time, what a leaving model holds now."""
    return {
        "reason": f"{step.reason.message} ({step.reason.code})",
        "cause": step.cause.value,
        **{name: _shown(value) for name, value in step.compared().items()},
        "needs": ", ".join(sorted(step.needs)) or None,
        **{f"before.{name}": value for name, value in step.before.items()},
        **{f"after.{name}": value for name, value in step.after.items()},
        **{f"precondition.{one.fact}": one.at_least if one.at_least is not None else one.equals for one in step.preconditions},
    }


def _shown(value: Json) -> Shown:
    return ",".join(map(str, value)) or None if isinstance(value, list) else value if not isinstance(value, dict) else str(value)


def _differences(first: Mapping[str, Shown], second: Mapping[str, Shown]) -> tuple[FieldChange, ...]:
    names = [*first, *(name for name in second if name not in first)]
    return tuple(FieldChange(name, first.get(name), second.get(name)) for name in names if first.get(name) != second.get(name))
