"""Why a resource is where it is, for people and as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence

from reconciler.fleet import Incident, format_bytes, format_duration, format_ratio
from reconciler.health.status import ReplicaStatus
from reconciler.placement import EngineAnswer
from reconciler.planning.explaining import Account
from reconciler.planning.plan import Move, Unplaced
from reconciler.value_class import value_class
from reconciler.views.escape import escape
from reconciler.views.sections import drift_lines, note_lines, unplaced_lines
from reconciler.views.step_words import SYMBOLS
from reconciler.views.style import Cell, Style, bounded, columns, joined, more


@value_class
class HistoryRow:
    """One step of an earlier run."""

    run: int
    at: str
    action: str
    status: str
    reason: str | None
    seconds: float | None


def explain_text(
    account: Account,
    status: ReplicaStatus | None,
    candidates: Sequence[EngineAnswer],
    incidents: Sequence[Incident],
    history: Sequence[HistoryRow],
    *,
    colour: bool = False,
    width: int = 100,
) -> str:
    """The address with why it is there, what the plan does about it, every candidate, and what happened to it."""
    style = Style(colour, width)
    facts = [("why", account.why.message)]
    if status is not None:
        facts.append(("now", f"{status.standing}{f': {status.detail}' if status.detail else ''}"))
        if status.vram_bytes is not None:
            facts.append(("takes", format_bytes(status.vram_bytes)))
        if status.context is not None:
            facts.append(("context", str(status.context)))
        if status.failed:
            facts.append(("failed", status.failed))
    blocks = [
        [style.heading(escape(account.address)), *columns([[Cell(name, "dim"), Cell(text)] for name, text in facts], style)],
        _steps(account, style),
        _moves(account.moves, style),
        drift_lines(account.drift, style),
        _unplaced(account.unplaced, candidates, style) if account.unplaced is not None else [],
        _candidates(candidates, account, style),
        note_lines(account.notes, style),
        _incidents(incidents, style),
        _history(history, style),
    ]
    return joined("\n".join(block) + "\n" for block in blocks if block)


def _steps(account: Account, style: Style) -> list[str]:
    rows = [
        [
            Cell(f"{SYMBOLS[step.action][0]} {step.action.value}", SYMBOLS[step.action][1]),
            Cell(step.reason.message or step.reason.code, sentence=True),
            Cell(f"({step.cause.value})", "dim"),
        ]
        for step in account.steps
    ]
    return [style.heading("The plan"), *columns(rows, style)] if rows else []


def _moves(moves: Sequence[Move], style: Style) -> list[str]:
    rows = [
        [
            Cell(one.address),
            Cell(f"→ {one.to}" if one.to is not None else "→ nowhere, until there is room again"),
            Cell(f"for {one.by}" if one.by is not None else ""),
        ]
        for one in moves
    ]
    return [style.heading("What moves for it, or with it"), *columns(rows, style)] if rows else []


def _unplaced(unplaced: Unplaced, candidates: Sequence[EngineAnswer], style: Style) -> list[str]:
    """Without what engines say where they say the same below, as the fleet stands."""
    below = {(str(one.slot.id), one.code, one.message) for one in candidates}
    differs = any((one.engine, one.reason, one.message) not in below for one in unplaced.candidates)
    return unplaced_lines([unplaced], style, engines=differs or not candidates)


def _candidates(candidates: Sequence[EngineAnswer], account: Account, style: Style) -> list[str]:
    if not candidates:
        return []
    here = account.address.rpartition("@")[2]
    ordered = sorted(candidates, key=lambda one: (str(one.slot.id) != here, not one.fits, one.slot.used_fraction, str(one.slot.id)))
    shown, left = bounded(ordered)
    rows = []
    for one in shown:
        mark = "→" if str(one.slot.id) == here else "✓" if one.fits else "✗"
        rows.append(
            [
                Cell(f"{mark} {one.slot.id}", "green" if one.fits else "red"),
                Cell(f"{format_ratio(one.slot.used_fraction)} used", right=True),
                Cell(_answer(one, account), sentence=True),
                Cell("" if one.fits else f"({one.code})", "dim"),
            ]
        )
    return [style.heading("Every engine, as the fleet stands"), *columns(rows, style), *more(left, style, "engines")]


def _answer(one: EngineAnswer, account: Account) -> str:
    if one.code == "fits" and str(one.slot.id) in account.replicas and account.address.rpartition("@")[2] != str(one.slot.id):
        return "has room, and the plan has a replica of it there"
    return one.message or ("has room" if one.fits else one.code)


def _incidents(incidents: Sequence[Incident], style: Style) -> list[str]:
    rows = [[Cell(one.at), Cell(one.code, "yellow"), Cell(f"for {one.evictor}" if one.evictor else "")] for one in incidents]
    return [style.heading("What happened to it"), *columns(rows, style)] if rows else []


def _history(history: Sequence[HistoryRow], style: Style) -> list[str]:
    rows = [
        [
            Cell(f"run {one.run}"),
            Cell(one.at, "dim"),
            Cell(one.action),
            Cell(one.status, None if one.status in ("done", "satisfied") else "red"),
            Cell("" if one.seconds is None else format_duration(one.seconds), right=True),
            Cell(one.reason or ""),
        ]
        for one in history
    ]
    return [style.heading("Earlier applies"), *columns(rows, style)] if rows else []


def explain_json(
    account: Account,
    status: ReplicaStatus | None,
    candidates: Sequence[EngineAnswer],
    incidents: Sequence[Incident],
    history: Sequence[HistoryRow],
) -> str:
    """One JSON document."""
    document = {
        "format_version": "1.0",
        "address": account.address,
        "why": {"code": account.why.code, "message": account.why.message},
        "standing": None if status is None else status.standing,
        "detail": None if status is None else status.detail,
        "vram_bytes": None if status is None else status.vram_bytes,
        "context": None if status is None else status.context,
        "owned": None if status is None else status.owned,
        "steps": [
            {
                "id": step.id,
                "action": step.action.value,
                "cause": step.cause.value,
                "reason": {"code": step.reason.code, "message": step.reason.message},
                "needs": list(step.needs),
            }
            for step in account.steps
        ],
        "moves": [{"model": one.model, "address": one.address, "to": one.to, "by": one.by} for one in account.moves],
        "drift": [{"kind": one.kind, "field": one.field, "applied": one.applied, "found": one.found} for one in account.drift],
        "would_fit_if": list(account.unplaced.would_fit_if) if account.unplaced is not None else [],
        "proved": account.unplaced.proved if account.unplaced is not None else None,
        "candidates": [
            {
                "engine": str(one.slot.id),
                "fits": one.fits,
                "reason": {"code": one.code, "message": _answer(one, account)},
                "used_fraction": round(one.slot.used_fraction, 4),
            }
            for one in candidates
        ],
        "notes": [{"code": one.code, "message": one.message} for one in account.notes],
        "incidents": [{"at": one.at, "code": one.code, "evictor": one.evictor} for one in incidents],
        "history": [
            {"run": one.run, "at": one.at, "action": one.action, "status": one.status, "reason": one.reason, "seconds": one.seconds}
            for one in history
        ],
    }
    return json.dumps(document, indent=2) + "\n"
