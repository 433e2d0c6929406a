"""What an operation reports as JSON values: a line each of `apply --format ndjson`, and whatever else reads the stream from outside.

`format_version` changes its first number where a key goes or means something else; keys and types may be added without that.
"""

from __future__ import annotations

import json

from reconciler.execution import (
    ResidentLost,
    RunFinished,
    RunStarted,
    StepDone,
    StepFailed,
    StepInterrupted,
    StepProgress,
    StepRetried,
    StepSkipped,
    StepStarted,
)
from reconciler.fleet import GpurecError
from reconciler.operations.apply_result import ApplyResult
from reconciler.operations.exit_status import ExitStatus
from reconciler.operations.reporter import (
    CorrectionUnapproved,
    FileWarning,
    LockAwaited,
    NodeProbed,
    OperationEvent,
    PlanCorrected,
    ProbingEnded,
    ProbingStarted,
    RescueTakenIn,
    StateNotice,
    StateWarning,
)
from reconciler.planning import Plan, Step
from reconciler.planning.plan import Json
from reconciler.views import plan_summary

EVENTS_VERSION = "1.0"


def event_line(document: dict[str, Json], at: str) -> str:
    """One line of JSON, plain ASCII, that begins with the version, the type and the time `at` (ISO 8601 in UTC)."""
    kind = document.pop("type")
    return json.dumps({"format_version": EVENTS_VERSION, "type": kind, "at": at, **document}, allow_nan=False) + "\n"


def plan_event(plan: Plan) -> dict[str, Json]:
    """The first: what is about to be carried out."""
    summary = dict[str, Json](plan_summary(plan))
    return {"type": "plan", "fleet": plan.fleet, "digest": plan.digest, "serial": plan.serial, "summary": summary}


def result_event(result: ApplyResult, status: ExitStatus) -> dict[str, Json]:
    """The last: how each step ended, the serial that was recorded (null: nothing was), the exit status."""
    steps: list[Json] = [
        {
            "id": one.step_id,
            "address": one.address,
            "action": one.action.value,
            "status": one.status.value,
            "code": one.code,
            "message": one.message,
        }
        for one in result.steps
    ]
    return {
        "type": "result",
        "serial": result.serial,
        "interrupted": result.interrupted,
        "seconds": result.seconds,
        "steps": steps,
        "exit_status": int(status),
    }


def error_event(error: GpurecError) -> dict[str, Json]:
    """The last where it could not be carried out."""
    problems: list[Json] = [
        {"what": one.what, "where": None if one.where is None else str(one.where), "hint": one.hint} for one in error.problems
    ]
    return {"type": "error", "problems": problems, "exit_status": error.exit_code}


def event_document(event: OperationEvent) -> dict[str, Json]:
    """An event with its `type` and its fields; a step by its id, address and action."""
    match event:
        case ProbingStarted(nodes):
            return {"type": "probing_started", "nodes": nodes}
        case NodeProbed(facts):
            silent: list[Json] = [name for name, one in sorted(facts.engines.items()) if not one.reachable]
            return {"type": "node_probed", "node": facts.node, "unreachable": silent}
        case ProbingEnded():
            return {"type": "probing_ended"}
        case RunStarted(run_id, steps):
            return {"type": "run_started", "run": run_id, "steps": steps}
        case StepStarted(step):
            return {"type": "step_started", **_step(step)}
        case StepProgress(step, status, completed, total):
            return {"type": "step_progress", **_step(step), "status": status, "completed_bytes": completed, "total_bytes": total}
        case StepRetried(step, code, message, pause, tries):
            return {"type": "step_retried", **_step(step), **_why(code, message), "pause_seconds": pause, "tries": tries}
        case StepDone(step, seconds, satisfied):
            return {"type": "step_done", **_step(step), "seconds": seconds, "satisfied": satisfied}
        case StepFailed(step, code, message, seconds):
            return {"type": "step_failed", **_step(step), **_why(code, message), "seconds": seconds}
        case StepSkipped(step, code, message, waited_for):
            return {"type": "step_skipped", **_step(step), **_why(code, message), "waited_for": waited_for}
        case StepInterrupted(step):
            return {"type": "step_interrupted", **_step(step)}
        case ResidentLost(address, message, ours):
            return {"type": "resident_lost", "address": address, "message": message, "ours": ours}
        case RunFinished(done, satisfied, failed, skipped, interrupted, seconds):
            counts: dict[str, Json] = {
                "done": done,
                "satisfied": satisfied,
                "failed": failed,
                "skipped": skipped,
                "interrupted": interrupted,
            }
            return {"type": "run_finished", **counts, "seconds": seconds}
        case FileWarning(problem):
            return {"type": "warning", "message": problem.sentence()}
        case StateWarning(message):
            return {"type": "warning", "message": message}
        case StateNotice(message):
            return {"type": "notice", "message": message}
        case LockAwaited(holder, seconds):
            return {"type": "lock_awaited", "holder": holder, "seconds": seconds}
        case RescueTakenIn(run_id, entries, kept):
            return {"type": "rescue_taken_in", "run": run_id, "entries": entries, "kept": str(kept)}
        case PlanCorrected(steps):
            return {"type": "plan_corrected", "steps": steps}
        case CorrectionUnapproved(step):
            return {"type": "correction_unapproved", "step": step}


def _step(step: Step) -> dict[str, Json]:
    return {"id": step.id, "address": step.address, "action": step.action.value, "node": step.node}


def _why(code: str, message: str) -> dict[str, Json]:
    return {"code": code, "message": message}
