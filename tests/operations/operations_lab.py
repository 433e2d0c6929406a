"""A workspace that is planned and applied in this process."""

from __future__ import annotations

import asyncio

from reconciler.operations.apply_result import ApplyResult
from reconciler.operations.observation import PROBE_ALL, PlanOptions
from reconciler.operations.proposal import Proposal, plan_fleet
from reconciler.operations.run import ApplyOptions, carry_out
from reconciler.operations.settings import WorkspaceSettings
from reconciler.views import plan_text


class OperationsLab:
    """What can be done with the workspace of `settings`."""

    settings: WorkspaceSettings

    def plan(self, options: PlanOptions = PROBE_ALL) -> Proposal:
        return asyncio.run(plan_fleet(self.settings, options))

    def apply(self, proposal: Proposal | None = None) -> ApplyResult:
        return asyncio.run(carry_out(self.settings, proposal or self.plan(), ApplyOptions()))

    def converge(self) -> list[str]:
        """Applies; the plan after it is empty. Says what was done."""
        proposal = self.plan()
        result = self.apply(proposal)
        assert {one.status.value for one in result.steps} <= {"done", "satisfied"}, result.steps
        after = self.plan().plan
        assert after.empty, plan_text(after)
        assert not after.drift
        return shown(proposal)


def shown(proposal: Proposal) -> list[str]:
    return [f"{step.action} {step.address}" for step in proposal.plan.steps]
