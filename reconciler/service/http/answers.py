"""The documents of the API, all from the last look. Bytes are integers unless a name says another unit, unknown is null."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing

from reconciler.capacity import in_use
from reconciler.fleet import GIB, CardFacts, EngineFacts, parse_agent_address, replica_address
from reconciler.health import agents_of, holders_by_card
from reconciler.operations.diagnosis import findings_of, standing_of
from reconciler.operations.explaining import explained, routed
from reconciler.operations.proposal import Proposal
from reconciler.operations.records import ModelRecord, Records
from reconciler.placement import model_needs
from reconciler.planning import CardBalance, judge
from reconciler.service.conditions import Conditions
from reconciler.service.documents import condition_document
from reconciler.state import RunRecord
from reconciler.views import drift_document, plan_document, status_document
from reconciler.views.explain_text import explain_json
from reconciler.views.models_text import models_document
from reconciler.views.route_text import route_json

Document = Mapping[str, object]


def status(seen: Proposal) -> Document:
    """What `gpurec status --format json` says."""
    replicas = standing_of(seen)
    holders = holders_by_card(seen.workspace.fleet, seen.facts, seen.plan)
    agents = agents_of(seen.plan, seen.resources, seen.applied)
    return status_document(seen.plan, seen.facts, replicas, findings_of(seen, replicas), holders, agents)


def plan(seen: Proposal) -> Document:
    return plan_document(seen.plan)


def drift(seen: Proposal) -> Document:
    return drift_document(judge(seen.plan, None))


def explanation(seen: Proposal, address: str) -> str:
    """What `gpurec explain --format json` says, as text. Raises GpurecError where nothing is known of the address."""
    found = explained(seen, address)
    return explain_json(found.account, found.status, found.candidates, found.incidents, found.history)


def route(seen: Proposal, model: str) -> str:
    """What `gpurec route --format json` says, as text. Raises GpurecError for a model that nobody knows."""
    return route_json(routed(seen, model))


def runs(seen: Proposal, last: int) -> tuple[RunRecord, ...]:
    """The latest runs of the state, the newest first."""
    with closing(seen.state.reader()) as state:
        return tuple(state.runs(last))


def conditions(holding: Conditions) -> list[Document]:
    """What is not as it should be."""
    return [condition_document(one) for one in holding.values()]


def allocations(seen: Proposal) -> Document:
    """Which models are where and what of each card they are charged with, as the plan counts; and which agent uses what."""
    charged = seen.plan.residents
    rows = [
        {"address": address, "model": row.model, "node": row.at.node, "engine": row.at.engine, "vram_bytes": found.vram_bytes}
        for address, row in sorted(seen.applied.replicas.items())
        if (found := charged.get(address)) is not None
    ]
    agents = [
        {"address": one.address, "agent": name, "node": node, "uses": one.uses or None, "standing": one.standing}
        for one in agents_of(seen.plan, seen.resources, seen.applied)
        if one.standing != "unplaced"
        for name, _, node in [parse_agent_address(one.address)]
    ]
    return {"allocations": rows, "agents": agents, "gpus": [_balance(card) for card in seen.plan.gpus]}


def models(seen: Proposal) -> Document:
    """Every wanted model by the kinds of engines that may have it: what it needs by what, and where it is."""
    space = seen.workspace
    there: dict[tuple[str, str], list[str]] = {}
    for address, row in sorted(seen.applied.replicas.items()):
        engine = seen.facts.engine(row.at)
        if engine is not None and any(one.name == row.engine_name for one in engine.residents or ()):
            there.setdefault((row.model, engine.kind.value), []).append(address)
    needs = model_needs(space.fleet, space.desired, seen.facts, seen.applied, space.catalogue)
    rows = models_document(needs)
    for one in rows:
        one["resident_on"] = there.get((str(one["model"]), str(one["engine"])), [])
    return {"models": rows}


def _balance(card: CardBalance) -> Document:
    return {
        "node": card.node,
        "gpu": card.gpu,
        "total_bytes": card.total_bytes,
        "usable_bytes": card.usable_bytes,
        "foreign_bytes": card.foreign_bytes,
        "placed_bytes": card.before_bytes,
        "assumed": card.assumed,
    }


def gpu_status(seen: Proposal, records: Records) -> Document:
    """Cards and models in GiB with two digits: `gpu` is the first card, `gpus` has all where there are several. What is known of requests
    is the moving average of `records`; where an engine tells only how fast it writes, the latency is that of 512 tokens."""
    known = {(name, card.index): card for name, node in seen.facts.nodes.items() for card in node.cards or ()}
    cards = [_card(one, known.get((one.node, one.gpu))) for one in seen.plan.gpus]
    engines = [engine for _, node in sorted(seen.facts.nodes.items()) for engine in node.engines.values()]
    document: dict[str, object] = {"gpu": cards[0] if cards else None, "models": _models(engines, seen, records)}
    return document | ({"gpus": cards} if len(cards) > 1 else {})


def _card(one: CardBalance, card: CardFacts | None) -> Document:
    used = in_use(card.used_bytes if card is not None else None, one.before_bytes, one.foreign_bytes)
    total = one.total_bytes
    return {
        "id": f"{one.node}/{one.gpu}",
        "memory_used_gb": _gib(used),
        "memory_total_gb": _gib(total),
        "memory_available_gb": None if total is None else _gib(max(0, total - used)),
        "utilization_percent": None if not total else round(100 * used / total, 2),
        "temperature_c": card.temperature if card is not None else None,
        "power_draw_w": card.power if card is not None else None,
        "is_throttled": None if card is None or card.throttle is None else bool(card.throttle),
    }


def _models(engines: list[EngineFacts], seen: Proposal, records: Records) -> Document:
    """By name, which is that of the files for what gpurec owns; of one that is on several engines the sum of its parts, the latency of the
    slowest, and all that wait and failed. Where an engine does not tell what a resident holds, it is what the plan counts."""
    names = {(row.at, row.engine_name): row.model for row in seen.applied.replicas.values()}
    counted = {address: one.vram_bytes for address, one in seen.plan.residents.items()}
    known: dict[str, list[ModelRecord]] = {}
    found: dict[str, dict[str, object]] = {}
    bytes_of: dict[str, int | None] = {}
    for engine in engines:
        for one in engine.residents or ():
            model = names.get((engine.id, one.name))
            address, name = replica_address(model or one.name, engine.id), model or one.shown
            before = bytes_of.get(name, 0)
            held = one.vram_bytes if one.vram_bytes is not None else counted.get(address)
            bytes_of[name] = None if before is None or held is None else before + held
            record = records.of.get(address)
            of_it = known.setdefault(name, [])
            of_it.extend([record] if record is not None else [])
            seconds = [each.request_seconds for each in of_it if each.request_seconds is not None]
            waiting = [each.queue for each in of_it if each.queue is not None]
            found[name] = {
                "vram_gb": _gib(bytes_of[name]),
                "backend": engine.kind.value,
                "avg_latency_ms": round(max(seconds) * 1000, 2) if seconds else None,
                "queue_size": round(sum(waiting)) if waiting else None,
                "failure_count": sum(each.failures for each in of_it) if of_it else None,
            }
    return found


def _gib(count: int | None) -> float | None:
    return None if count is None else round(count / GIB, 2)
