"""The exit status of every command: which conditions there are, and which of those that hold decides."""

from __future__ import annotations

from collections.abc import Callable, Collection
from enum import Enum, IntEnum

from reconciler.fleet import FleetFacts, GpurecError
from reconciler.operations.apply_result import ApplyResult
from reconciler.planning import DriftReport, Plan
from reconciler.state import Lock, StepStatus


class ExitStatus(IntEnum):
    """What a caller may read from the status of a process."""

    DONE = 0
    """Done, or nothing to do."""
    ERROR = 1
    """It could not be done, or the usage was wrong; for `doctor` and `state check`: something is wrong."""
    CHANGED = 2
    """Changes are pending (`plan --detailed-exitcode`), or the fleet drifted (`drift`)."""
    INCOMPLETE = 3
    """Steps failed or were skipped, a replica was lost or is held, or something not best-effort has no place."""
    UNREACHABLE = 4
    """Some engines cannot be reached."""
    LOCKED = 5
    """Another run holds the state."""
    STALE = 6
    """The plan is stale, or its digest is another."""
    REFUSED = 7
    """A guard or a policy refused."""
    INTERRUPTED = 130


class Command(Enum):
    """The commands by what their status can say."""

    APPLY = "apply"
    PLAN = "plan"
    PLAN_DETAILED = "plan --detailed-exitcode"
    DRIFT = "drift"
    LOOK = "facts, status, models, check MODEL, explain, top, import, pin"
    """What is told of the fleet as it is, or written from it."""
    CHECK = "doctor, state check, lock status"
    """Whether something is sound or free."""


ORDER: dict[Command, tuple[ExitStatus, ...]] = {
    Command.APPLY: (
        ExitStatus.INTERRUPTED,
        ExitStatus.ERROR,
        ExitStatus.REFUSED,
        ExitStatus.STALE,
        ExitStatus.LOCKED,
        ExitStatus.INCOMPLETE,
        ExitStatus.UNREACHABLE,
    ),
    Command.PLAN: (ExitStatus.INTERRUPTED, ExitStatus.ERROR, ExitStatus.REFUSED),
    Command.PLAN_DETAILED: (
        ExitStatus.INTERRUPTED,
        ExitStatus.ERROR,
        ExitStatus.REFUSED,
        ExitStatus.INCOMPLETE,
        ExitStatus.CHANGED,
        ExitStatus.UNREACHABLE,
    ),
    Command.DRIFT: (ExitStatus.INTERRUPTED, ExitStatus.ERROR, ExitStatus.REFUSED, ExitStatus.CHANGED, ExitStatus.UNREACHABLE),
    Command.LOOK: (ExitStatus.INTERRUPTED, ExitStatus.ERROR, ExitStatus.UNREACHABLE),
    Command.CHECK: (ExitStatus.INTERRUPTED, ExitStatus.ERROR, ExitStatus.LOCKED),
}
"""What each can end with, the most urgent first."""


def exit_status(command: Command, holds: Collection[ExitStatus]) -> ExitStatus:
    """The most urgent of the statuses that hold, as `command` orders them; DONE where none of its own does."""
    return next((status for status in ORDER[command] if status in holds), ExitStatus.DONE)


def of_plan(plan: Plan) -> frozenset[ExitStatus]:
    """What holds of a plan, and so of a complete apply of it."""
    return _holding(
        (ExitStatus.REFUSED, bool(plan.refusals)),
        (ExitStatus.CHANGED, not plan.empty),
        (ExitStatus.INCOMPLETE, unplaced(plan) > 0 or bool(plan.held)),
        (ExitStatus.UNREACHABLE, bool(plan.deferred)),
    )


def of_apply(plan: Plan, result: ApplyResult) -> frozenset[ExitStatus]:
    """What holds once `plan` was carried out with that result."""
    unfinished = any(one.status not in (StepStatus.DONE, StepStatus.SATISFIED) for one in result.steps)
    return of_plan(plan) | _holding(
        (ExitStatus.INTERRUPTED, result.interrupted),
        (ExitStatus.INCOMPLETE, unfinished or any(lost.ours for lost in result.lost)),
    )


def of_drift(report: DriftReport) -> frozenset[ExitStatus]:
    """What holds of a drift report; what is pending decides nothing here."""
    return _holding((ExitStatus.CHANGED, bool(report.counted)), (ExitStatus.UNREACHABLE, report.unreachable))


def of_facts(facts: FleetFacts) -> frozenset[ExitStatus]:
    """What holds of facts alone."""
    return of_unreachable(facts.silent)


def of_unreachable(engines: Collection[object]) -> frozenset[ExitStatus]:
    """What holds where these engines could not be asked, of those that the answer is about."""
    return _holding((ExitStatus.UNREACHABLE, bool(engines)))


def of_soundness(sound: bool) -> frozenset[ExitStatus]:
    """What holds once something was looked through for faults."""
    return _holding((ExitStatus.ERROR, not sound))


def of_lock(lock: Lock | None) -> frozenset[ExitStatus]:
    """What holds of the lock of a state."""
    return _holding((ExitStatus.LOCKED, lock is not None and lock.standing.holds))


def of_error(error: Exception) -> ExitStatus:
    """The status of a command that ends with this error."""
    return ExitStatus(error.exit_code) if isinstance(error, GpurecError) else ExitStatus.ERROR


def unplaced(plan: Plan) -> int:
    """Replicas without a place, without those that are only best-effort."""
    return sum(one.count for one in plan.unplaced if not one.best_effort)


def check_all(command: Command, *checks: Callable[[], object]) -> None:
    """Runs every check, and raises of their errors the one whose status is the most urgent."""
    errors: list[GpurecError] = []
    for check in checks:
        try:
            check()
        except GpurecError as error:
            errors.append(error)
    if errors:
        raise min(errors, key=lambda error: ORDER[command].index(of_error(error)))


def _holding(*conditions: tuple[ExitStatus, bool]) -> frozenset[ExitStatus]:
    return frozenset(status for status, holds in conditions if holds)
