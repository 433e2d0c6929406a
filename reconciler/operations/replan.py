"""The second plan of a run in which a load ran out of memory: made with the corrected need, and kept only within what was approved."""

from __future__ import annotations

from dataclasses import replace

from reconciler.cli.settings import Settings
from reconciler.execution import Outcome
from reconciler.operations.observation import Choice, Look, look_again
from reconciler.planning import Plan, Step
from reconciler.state import StateWriter
from reconciler.views import escape
from reconciler.views.style import plural


def plan_corrected(settings: Settings, look: Look, outcome: Outcome, state: StateWriter) -> Look | None:
    """What is left to do by the facts of now and the corrected needs, where all of it was approved; None where nothing was corrected,
    nothing is left, or something else would be done, which is said."""
    if outcome.interrupted or state.rescue is not None or not any(result.corrected for result in outcome.results):
        return None
    approved = look.plan
    again = look_again(look.workspace, settings, Choice(approved.limit, approved.exclude))
    if again.plan.empty:
        return None
    other = first_unapproved(approved, again.plan)
    if other is not None or again.plan.refusals:
        what = f"{other.action.value} {escape(other.address)}" if other is not None else "a guard refuses it"
        settings.say(f"With the corrected need the plan is another one than was approved ({what}); see gpurec plan.")
        return None
    left = plural(len(again.plan.steps), "step")
    settings.say(f"The plan was made again with the corrected need; what is left of it was approved: {left}.")
    return replace(again, plan=replace(again.plan, digest=approved.digest, rollback=approved.rollback))


def first_unapproved(approved: Plan, plan: Plan) -> Step | None:
    """The first step that is not, by what is done, where and under which name, one of those that were approved."""
    known = {(step.action, step.address, step.engine_name) for step in approved.steps}
    return next((step for step in plan.steps if (step.action, step.address, step.engine_name) not in known), None)
