"""A plan as the document that programs read: `--format json`, and the file of `--out`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

from reconciler.planning.kinds.model.step import refusals
from reconciler.planning.plan import (
    Action,
    CardBalance,
    Drift,
    Json,
    Plan,
    Precondition,
    Step,
    Unplaced,
)


def plan_document(plan: Plan) -> dict[str, Json]:
    """The whole plan as JSON values. Bytes are integers, times ISO 8601 in UTC, unknown is null; no secret is in a plan.

    `digest` says which plan it is; `checksum`, the last key, guards every other word of the document, also those that are only shown.
    """
    document = plan_contents(plan)
    return {**document, "checksum": document_checksum(document)}


def document_checksum(document: Mapping[str, Json]) -> str:
    """`sha256:…` over the document without its own `checksum`, in canonical JSON (sorted keys, no spaces, ASCII).

    Raises ValueError for a number that JSON does not have and RecursionError for a nesting that no plan has.
    """
    whole = hashlib.sha256()
    canonical = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    for key in sorted(document):
        if key != "checksum":
            whole.update(canonical.encode([key, document[key]]).encode())
            whole.update(b"\n")
    return f"sha256:{whole.hexdigest()}"


def plan_contents(plan: Plan) -> dict[str, Json]:
    """The document without its checksum."""
    return {
        "format_version": plan.format_version,
        "fleet": plan.fleet,
        "digest": plan.digest,
        "lineage": plan.lineage,
        "serial": plan.serial,
        "config_digest": plan.config_digest,
        "created_at": plan.created_at,
        "summary": dict[str, Json](plan_summary(plan)),
        "impact": {
            "downtime_seconds": dict(plan.impact.downtime_seconds),
            "download_bytes": plan.impact.download_bytes,
            "evictions": list(plan.impact.evictions),
            "moves": [
                {"model": one.model, "address": one.address, "to": one.to, "by": one.by, "step": one.step} for one in plan.impact.moves
            ],
        },
        "steps": [_step(step) for step in plan.steps],
        "gpus": [_card(card) for card in plan.gpus],
        "drift": [_drift(drift) for drift in plan.drift],
        "unplaced": [_unplaced(unplaced) for unplaced in plan.unplaced],
        "deferred": [{"node": one.node, "engine": one.engine, "reason": one.reason} for one in plan.deferred],
        "unmanaged": [
            {"node": one.node, "engine": one.engine, "name": one.name, "vram_bytes": one.vram_bytes, "pinned": one.pinned}
            for one in plan.unmanaged
        ],
        "refusals": [{"guard": one.guard, "address": one.address, "message": one.message} for one in plan.refusals],
        "notes": [{"address": note.address, "code": note.code, "message": note.message} for note in plan.notes],
        "placement": {
            "strategy": plan.placement.strategy,
            "solver": plan.placement.solver,
            "objective": plan.placement.objective,
            "bound": plan.placement.bound,
            "gap": plan.placement.gap,
            "proved": plan.placement.proved,
            "unplaced": [
                {"priority": one.priority, "bytes": one.bytes, "count": one.count, "bound_bytes": one.bound_bytes}
                for one in plan.placement.unplaced
            ],
            "moved_bytes": plan.placement.moved_bytes,
            "moved": plan.placement.moved,
            "moved_bound_bytes": plan.placement.moved_bound_bytes,
            "ended": plan.placement.ended,
        },
        "placed": dict(plan.placed),
        "forgotten": list(plan.forgotten),
        "limit": plan.limit,
        "exclude": plan.exclude,
        **({"hours": [{"model": one.model, "wanted": one.wanted, "until": one.until} for one in plan.hours]} if plan.hours else {}),
        **({"unchanged_others": plan.unchanged_others} if plan.unchanged_others else {}),
        **({"replace": list(plan.replace)} if plan.replace else {}),
        **({} if plan.rollback is None else {"rollback": plan.rollback}),
        **({} if plan.supposing is None else {"supposing": plan.supposing}),
    }


def plan_json(plan: Plan) -> str:
    """The document as text, always the same for the same plan. Plain ASCII, so that names from nodes stay inert on a terminal too."""
    from msgspec.json import format as indented  # json's own indentation takes four times as long

    return indented(json.dumps(plan_document(plan), ensure_ascii=True, allow_nan=False), indent=2) + "\n"


def plan_summary(plan: Plan) -> dict[str, int]:
    """Counts of a plan: steps by action, then replicas unchanged and unplaced, engines deferred, fields drifted, replicas pending."""
    shown = (
        Action.PULL, Action.TAG, Action.LOAD, Action.UNLOAD, Action.RELOAD, Action.WAIT, Action.CREATE, Action.UPDATE, Action.REMOVE,
        Action.ADOPT,
    )  # fmt: skip
    counts = dict.fromkeys(shown, 0)
    for step in plan.steps:
        counts[step.action] += 1
    return {
        **{action.value: count for action, count in counts.items()},
        "unchanged": plan.unchanged,
        "unplaced": sum(one.count for one in plan.unplaced),
        "held": len(plan.held),
        "deferred": len(plan.deferred),
        "drift": len(plan.drift),
        "pending": plan.pending,
    }


def _step(step: Step) -> dict[str, Json]:
    return {
        "id": step.id,
        "address": step.address,
        "action": step.action.value,
        "reason": {"code": step.reason.code, "message": step.reason.message},
        "cause": step.cause.value,
        "needs": list(step.needs),
        "made_for": step.made_for,
        "node": step.node,
        **step.particulars(),
        "seconds": step.seconds,
        "preconditions": [_precondition(one) for one in step.preconditions],
        "before": _fields(step.before),
        "after": _fields(step.after),
    }


def _precondition(one: Precondition) -> dict[str, Json]:
    document: dict[str, Json] = {"fact": one.fact}
    if one.at_least is not None:
        document["at_least"] = one.at_least
    if one.equals is not None:
        document["equals"] = one.equals
    return document


def _card(card: CardBalance) -> dict[str, Json]:
    return {
        "node": card.node,
        "gpu": card.gpu,
        "name": card.name,
        "total_bytes": card.total_bytes,
        "usable_bytes": card.usable_bytes,
        "foreign_bytes": card.foreign_bytes,
        "assumed": card.assumed,
        "unsized": card.unsized,
        "before_bytes": card.before_bytes,
        "after_bytes": card.after_bytes,
        "peak_bytes": card.peak_bytes,
        "free_after_bytes": card.free_after_bytes,
        **({"agents": card.agents} if card.agents else {}),
    }


def _drift(drift: Drift) -> dict[str, Json]:
    return {
        "address": drift.address,
        "kind": drift.kind,
        "field": drift.field,
        "applied": drift.applied,
        "found": drift.found,
        "class": drift.klass,
    }


def _unplaced(one: Unplaced) -> dict[str, Json]:
    return {
        **({} if one.agent is None else {"agent": one.agent, "reason": one.reason}),
        "model": one.model,
        "count": one.count,
        "needed_bytes": one.needed_bytes,
        "candidates": [
            {"engine": each.engine, "reason": each.reason, "message": each.message, "variants": refusals(each.variants)}
            for each in one.candidates
        ],
        "candidate_counts": dict(sorted(one.candidate_counts.items())),
        "would_fit_if": list(one.would_fit_if),
        "best_effort": one.best_effort,
        "proved": one.proved,
    }


def _fields(fields: Mapping[str, str | int | float | bool | None]) -> dict[str, Json]:
    return {name: fields[name] for name in sorted(fields)}
