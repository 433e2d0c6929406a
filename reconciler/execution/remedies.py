"""What is done about a load that failed: another try after a pause, or a higher need for one that ran out of memory; so often an hour."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timedelta

from reconciler.fleet import Remediation, parse_replica_address
from reconciler.planning import Action, ModelStep
from reconciler.state import StateReader, StepStatus, address_now, names_now

OUT_OF_MEMORY = "out_of_memory"
LOADS = frozenset({Action.LOAD, Action.RELOAD})
MAY_PASS = frozenset({"load_failed", "not_resident", "http_5xx", "cut", "busy"})
"""Failures of a load that another try may not meet. All others would be the same again, or say that nobody answers."""
GROWTH = (11, 10)
"""An engine says that memory ran out, not how much was missing: the need that it was loaded with is raised by a tenth each time."""
_MOST_RUNS = 500


class Remedies:
    """The tries that a run still has on each node. `earlier` is how many loads failed there within the hour before it."""

    def __init__(self, policy: Remediation, earlier: Mapping[str, int]) -> None:
        self._policy = policy
        self._used = Counter(earlier)

    def pause(self, step: ModelStep, code: str, tries: int) -> float | None:
        """Seconds to wait before `step`, which failed with `code` after `tries` tries more than one, is tried again; None: it is not."""
        if step.action not in LOADS or code not in MAY_PASS or tries >= self._policy.retries or not self._take(step.node):
            return None
        return float(self._policy.backoff * 2**tries)

    def corrected_need(self, step: ModelStep, code: str) -> int | None:
        """Bytes that a model is to be reckoned with that ran out of memory where it had been given those of `step`; None: nothing is
        learned of it."""
        if step.action not in LOADS or code != OUT_OF_MEMORY or not step.vram_bytes or not self._take(step.node):
            return None
        up, down = GROWTH
        return -(-step.vram_bytes * up // down)

    def _take(self, node: str) -> bool:
        if self._used[node] >= self._policy.per_hour:
            return False
        self._used[node] += 1
        return True


def failed_within_hour(state: StateReader, at: str) -> Mapping[str, int]:
    """How many loads failed on each node within the hour before `at` (ISO 8601 UTC), by the journal. Nodes are called as they are now."""
    since = (datetime.fromisoformat(at) - timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    failed: Counter[str] = Counter()
    renames = state.renames()
    for run in state.runs(_MOST_RUNS, of_plans=True):
        if (run.finished_at or run.started_at) < since:
            break
        if not run.steps.get(StepStatus.FAILED):
            continue
        names = names_now(rename for rename in renames if rename.run_id > run.id)
        for row in state.journal(run.id):
            if row.status is StepStatus.FAILED and row.action in LOADS and (row.finished_at or "") >= since:
                try:
                    _, engine = parse_replica_address(address_now(row.address, names))
                except ValueError:
                    continue  # of another kind of resource
                failed[engine.node] += 1
    return failed
