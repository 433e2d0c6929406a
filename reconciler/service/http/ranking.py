"""Which model is the best to ask now: known models by fit, latency and reliability, with the reasons."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from reconciler.fleet import AGENTS, GIB, EngineId, GpurecError, Resident, format_ratio, replica_address
from reconciler.health.routes import Route, RouteChoice
from reconciler.operations.explaining import routed
from reconciler.operations.proposal import Proposal
from reconciler.operations.records import ModelRecord, Records

_RANKS = ("loaded", "loading", "partly_loaded", "can_load", "can_pull", "no")
Document = Mapping[str, object]


def models_optimal(seen: Proposal, records: Records, agent_type: str | None, least_context: int) -> Document:
    """Every model that the files want and that may serve: the best first. `agent_type`: only those that agents of this type use.

    Raises GpurecError for a type that no agent has.
    """
    every = AGENTS.of(seen.workspace.desired)
    agents = [one for one in every if agent_type is None or one.type == agent_type]
    if agent_type is not None and not agents:
        known = sorted({one.type for one in every if one.type})
        raise GpurecError.of(f"no agent has the type {agent_type!r}", None, f"types are {', '.join(known)}" if known else None)
    names = {one.model for one in agents if one.model is not None} if agent_type is not None else None
    wanted = [one.name for one in seen.workspace.desired.wanted if names is None or one.name in names]
    rows = [row for name in wanted if (row := _row(seen, records, routed(seen, name), least_context)) is not None]
    rows.sort(key=lambda one: one[0])
    return {
        "agent_type": agent_type,
        "min_context_tokens": least_context,
        "models": [document for _, document in rows],
    }


Place = tuple[int, bool, float, float, str]


def _row(seen: Proposal, records: Records, route: Route, least_context: int) -> tuple[Place, Document] | None:
    won = route.winner
    if won is None:
        return None
    at = EngineId.parse(won.engine)
    record = records.of.get(replica_address(route.model, at), ModelRecord())
    context = _context(seen, route.model, at)
    if context is not None and context < least_context:
        return None
    measured, reliability = record.request_seconds, record.reliability
    seconds = measured if measured is not None else route.seconds
    document = {
        "model_name": route.model,
        "backend": won.kind.value,
        "engine": won.engine,
        "port": won.port,
        "fit": won.verdict,
        "context_tokens": context,
        "vram_gb": None if won.vram_bytes is None else round(won.vram_bytes / GIB, 2),
        "avg_latency_ms": None if measured is None else round(measured * 1000, 1),
        "estimated_duration_ms": None if seconds is None else round(seconds * 1000),
        "reliability": None if reliability is None else round(reliability, 4),
        "failure_count": record.failures,
        "reasons": list(_reasons(won, record, context, least_context, route)),
    }
    unknown = context is None and least_context > 0
    late = seconds if seconds is not None else float("inf")
    return (_RANKS.index(won.verdict), unknown, late, -(reliability if reliability is not None else 0.0), route.model), document


def _reasons(won: RouteChoice, record: ModelRecord, context: int | None, least_context: int, route: Route) -> Iterator[str]:
    yield won.message
    if record.latency is not None:
        yield f"requests take {record.latency * 1000:,.0f} ms, by its engine's own count"
    elif record.tokens_per_second is not None:
        yield f"writes {record.tokens_per_second:.3g} tokens/s, by its engine's own count"
    elif route.seconds is not None:
        yield f"about {route.seconds * 1000:,.0f} ms for {route.tokens} tokens, by rule of thumb"
    else:
        yield "its latency is not known"
    if record.reliability is None:
        yield "it was not seen in the last day"
    else:
        failed = f", {record.failures:,} failures" if record.failures else ""
        yield f"there in {format_ratio(record.reliability)} of the last day's looks{failed}"
    if least_context and context is None:
        yield "its context is not known"


def _context(seen: Proposal, model: str, at: EngineId) -> int | None:
    """What one request may use: of the resident, else as the files ask for."""
    found = resident_of(seen, model, at)
    if found is not None and found.context is not None:
        return found.context
    return next((one.context for one in seen.workspace.desired.wanted if one.name == model), None)


def resident_of(seen: Proposal, model: str, at: EngineId) -> Resident | None:
    """What an engine holds under a model's name."""
    engine = seen.facts.engine(at)
    spec = next((one for one in seen.workspace.desired.wanted if one.name == model), None)
    if engine is None or spec is None:
        return None
    names = {spec.engine_name(engine.kind), spec.base_name(engine.kind)}
    return next((one for one in engine.residents or () if one.name in names), None)
