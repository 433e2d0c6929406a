"""How a fleet stands, for people and for programs: replicas, cards, what is left to do, what is wrong."""

from __future__ import annotations

from collections.abc import Sequence

from reconciler.fleet import CardFacts, EngineFacts, FleetFacts, format_bytes
from reconciler.health import AgentStatus, Finding, Holder, Level, ReplicaStatus
from reconciler.planning import Plan
from reconciler.views.card_facts import NO_HOLDERS, Holders, card_blocks, holders_of
from reconciler.views.style import Cell, Style, bounded, columns, joined, more, plural

_GLYPHS = {
    "running": ("✓", "green"), "installed": ("✓", "dim"), "changing": ("~", "cyan"), "leaving": ("-", "red"), "unplaced": ("✗", "red"),
    "unknown": ("?", "yellow"), "unmanaged": ("·", "dim"), "held": ("!", "yellow"), "resting": ("z", "dim"),
}  # fmt: skip


def status_text(
    plan: Plan,
    facts: FleetFacts,
    replicas: Sequence[ReplicaStatus],
    findings: Sequence[Finding],
    holders: Holders = NO_HOLDERS,
    agents: Sequence[AgentStatus] = (),
    *,
    colour: bool = False,
    width: int = 100,
) -> str:
    """Replicas and agents with their standing, then the cards, then where to look further."""
    style = Style(colour, width)
    engines = [engine for node in facts.nodes.values() for engine in node.engines.values()]
    silent = len(facts.silent)
    opening = f"{style.heading(plan.fleet)}: {plural(len(facts.nodes), 'node')}, {plural(len(engines), 'engine')}"
    opening += style.paint(f", {silent:,} unreachable", "yellow") if silent else ""
    opening += f"; serial {plan.serial}, probed at {facts.at}"
    shown, left = bounded(replicas)
    rows = [style.heading("Models"), *columns([_row(one) for one in shown], style), *more(left, style)] if replicas else []
    some, others = bounded(agents)
    of_agents = [style.heading("Agents"), *columns([_agent(one) for one in some], style), *more(others, style, "agents")] if agents else []
    blocks = [[opening], rows, of_agents, *card_blocks(facts, style, holders), _closing(plan, findings, style)]
    return joined("\n".join(block) + "\n" for block in blocks if block)


def _row(one: ReplicaStatus) -> list[Cell]:
    glyph, look = _GLYPHS[one.standing]
    return [
        Cell(f"{glyph} {one.address}", look),
        Cell(one.standing),
        Cell("" if one.vram_bytes is None else format_bytes(one.vram_bytes), right=True),
        Cell("" if one.context is None else f"context {one.context}"),
        Cell("pinned" if one.pinned else "", "dim"),
        Cell("; ".join(part for part in (one.detail, f"its last load failed: {one.failed}" if one.failed else "") if part)),
    ]


def _agent(one: AgentStatus) -> list[Cell]:
    glyph, look = _GLYPHS[one.standing]
    return [Cell(f"{glyph} {one.address}", look), Cell(one.standing), Cell(f"uses {one.uses}" if one.uses else "", "dim"), Cell(one.detail)]


def _closing(plan: Plan, findings: Sequence[Finding], style: Style) -> list[str]:
    steps = f"{plural(len(plan.steps), 'step')} to do" if plan.steps else "nothing to do"
    line = f"{steps}, {plural(len(plan.drift), 'drift')}, {plan.pending:,} pending"
    line += " (gpurec plan shows them)" if plan.steps or plan.drift else ""
    wrong = sum(1 for one in findings if one.level is Level.ERROR)
    if findings:
        found = f"{plural(wrong, 'error')} and {plural(len(findings) - wrong, 'warning')}"
        line += "; " + style.paint(f"{found} (gpurec doctor shows them)", "red" if wrong else "yellow")
    return [line]


def status_document(
    plan: Plan,
    facts: FleetFacts,
    replicas: Sequence[ReplicaStatus],
    findings: Sequence[Finding],
    holders: Holders = NO_HOLDERS,
    agents: Sequence[AgentStatus] = (),
) -> dict[str, object]:
    """The same for programs; what is unknown is null."""
    return {
        "format_version": "1.0",
        "fleet": plan.fleet,
        "serial": plan.serial,
        "at": facts.at,
        "replicas": [_replica(one) for one in replicas],
        "agents": [
            {"address": one.address, "standing": one.standing, "detail": one.detail, "uses": one.uses or None, "owned": one.owned}
            for one in agents
        ],
        "engines": [_engine(engine) for _, node in sorted(facts.nodes.items()) for _, engine in sorted(node.engines.items())],
        "cards": [
            _card(name, card, holders.get((name, card.index), ()))
            for name, node in sorted(facts.nodes.items())
            for card in node.cards or ()
        ],
        "steps": len(plan.steps),
        "drift": len(plan.drift),
        "pending": plan.pending,
        "findings": {level.value: sum(1 for one in findings if one.level is level) for level in Level},
    }


def _replica(one: ReplicaStatus) -> dict[str, object]:
    return {
        "address": one.address,
        "standing": one.standing,
        "detail": one.detail,
        "failed": one.failed or None,
        "vram_bytes": one.vram_bytes,
        "context": one.context,
        "pinned": one.pinned,
        "owned": one.owned,
    }


def _engine(engine: EngineFacts) -> dict[str, object]:
    return {
        "engine": str(engine.id),
        "kind": engine.kind.value,
        "reachable": engine.reachable,
        "reason": engine.reason,
        "build": engine.build,
    }


def _card(node: str, card: CardFacts, models: Sequence[Holder]) -> dict[str, object]:
    return {
        "node": node,
        "gpu": card.index,
        "name": card.name,
        "total_bytes": card.total_bytes,
        "used_bytes": card.used_bytes,
        "foreign_bytes": card.foreign_bytes,
        "assumed": card.assumed,
        "temperature": card.temperature,
        "utilisation": card.utilisation,
        "holders": holders_of(card),
        "models": [{"engine": one.engine, "model": one.model, "vram_bytes": one.vram_bytes, "certain": one.certain} for one in models],
        "fault": card.fault,
    }
