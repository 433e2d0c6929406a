"""How fast a resident model is, as a client sees it: a few short requests to one engine, bounded, that load nothing and reload nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from statistics import median

from reconciler.engines import LoadRequest, Transport, open_engine
from reconciler.fleet import (
    AppliedReplica,
    EngineError,
    EngineFacts,
    EngineId,
    EngineKind,
    EngineSpec,
    GpurecError,
    LoadKey,
    Place,
    Problem,
    Resident,
    ResidentStatus,
    Scalar,
    parse_replica_address,
    replica_address,
)
from reconciler.operations.observation import PROBE_ALL, Observation, look
from reconciler.operations.reporter import Reporter, ignore
from reconciler.operations.settings import WorkspaceSettings
from reconciler.views.bench_text import Bench

TOKENS, MOST_TOKENS = 128, 1024
FIRST_TOKENS = 3
"""Requests for one token each, of which the median counts; one before them warms up."""
LONGEST = 180.0
"""Seconds after which it is given up."""


async def bench_model(settings: WorkspaceSettings, model: str, tokens: int = TOKENS, report: Reporter = ignore) -> Bench:
    """Looks where `model` (a name or an address) is resident, and has it write. Raises GpurecError where that cannot be."""
    return await bench_seen(await look(settings, PROBE_ALL, report), model, tokens)


async def bench_seen(seen: Observation, model: str, tokens: int = TOKENS) -> Bench:
    """The same where a look was made already."""
    spec, resident, row = _find(seen, model)
    options: dict[str, Scalar] = dict(row.options) if row is not None else {}
    if spec.kind is EngineKind.OLLAMA and resident.context is not None:
        options["num_ctx"] = resident.context  # with another one it would be loaded anew
    request = LoadRequest(resident.name, None, options)
    try:
        async with asyncio.timeout(LONGEST), Transport() as transport:
            transport.know([spec.bearer])
            engine = open_engine(spec, transport)
            firsts = [(await engine.write(request, 1)).seconds for _ in range(FIRST_TOKENS + 1)]
            written = await engine.write(request, tokens)
            rate = written.rate
    except TimeoutError:
        what = f"{model} did not write {tokens} tokens within {LONGEST:g} s"
        raise EngineError(Problem(what, Place(str(spec.id)), "ask for fewer with --tokens"), "timeout") from None
    name = row.model if row is not None else resident.shown
    key = LoadKey(spec.kind, resident.name, row.context if row is not None else None)
    load = seen.applied.load_seconds.get(key)
    return Bench(name, str(spec.id), spec.kind.value, median(firsts[1:]), written.tokens or 0, written.seconds, rate, load)


def _find(seen: Observation, model: str) -> tuple[EngineSpec, Resident, AppliedReplica | None]:
    """The engine that holds it: the one of the address, or the first by name."""
    specs = {engine.id: engine for node in seen.workspace.fleet.nodes.values() for engine in node.engines}
    rows = {(row.at, row.engine_name): row for row in seen.applied.replicas.values()}
    wanted = {one.name: one for one in seen.workspace.desired.wanted}
    for at, engine in sorted(_engines(seen).items()):
        names = {wanted[model].engine_name(engine.kind), wanted[model].base_name(engine.kind)} if model in wanted else set()
        for one in engine.residents or ():
            row = rows.get((at, one.name))
            known = {one.name, one.shown, replica_address(row.model if row is not None else one.name, at)}
            if (model in known or one.name in names or (row is not None and row.model == model)) and one.status is ResidentStatus.LOADED:
                return specs[at], one, row
    try:
        parse_replica_address(model)
        shown = model
    except ValueError:
        shown = repr(model)
    raise GpurecError.of(f"{shown} is resident nowhere, and bench loads nothing", None, "gpurec status shows what is; gpurec apply loads")


def _engines(seen: Observation) -> Mapping[EngineId, EngineFacts]:
    return {engine.id: engine for node in seen.facts.nodes.values() for engine in node.engines.values() if engine.reachable}
