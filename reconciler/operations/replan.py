"""The second plan of a run in which a load ran out of memory: made with the corrected need, and kept only within what was approved."""

from __future__ import annotations

from dataclasses import replace

from reconciler.execution import Outcome
from reconciler.operations.observation import PlanOptions
from reconciler.operations.proposal import Proposal, plan_fleet
from reconciler.operations.reporter import CorrectionUnapproved, PlanCorrected, Reporter
from reconciler.operations.settings import WorkspaceSettings
from reconciler.planning import Plan, Step
from reconciler.state import StateWriter


async def plan_corrected(
    settings: WorkspaceSettings, proposal: Proposal, outcome: Outcome, state: StateWriter, report: Reporter
) -> Proposal | None:
    """What is left to do by the facts of now and the corrected needs, where all of it was approved; None where nothing was corrected,
    nothing is left, or something else would be done, which is reported."""
    if outcome.interrupted or state.takes_no_more or not any(result.corrected for result in outcome.results):
        return None
    approved = proposal.plan
    options = PlanOptions(approved.limit, approved.exclude, solver=approved.placement.solver)
    again = await plan_fleet(settings, options, report, workspace=proposal.workspace)
    if again.plan.empty:
        return None
    other = first_unapproved(approved, again.plan)
    if other is not None or again.plan.refusals:
        report(CorrectionUnapproved(f"{other.action.value} {other.address}" if other is not None else None))
        return None
    report(PlanCorrected(len(again.plan.steps)))
    return replace(again, plan=replace(again.plan, digest=approved.digest, rollback=approved.rollback))


def first_unapproved(approved: Plan, plan: Plan) -> Step | None:
    """The first step that is not, by what is done, where and under which name, one of those that were approved."""
    known = {(step.action, step.address, step.name_there) for step in approved.steps}
    return next((step for step in plan.steps if (step.action, step.address, step.name_there) not in known), None)
