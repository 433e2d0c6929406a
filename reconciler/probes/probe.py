"""Asks every engine of a fleet at once, and every node for its cards: a dead node costs its own deadline and no other's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace

from reconciler.engines import Transport, open_engine
from reconciler.engines.last_net import caught
from reconciler.fleet import EngineError, EngineFacts, EngineId, EngineSpec, Fleet, FleetFacts, NodeFacts, NodeSpec
from reconciler.probes.accounting import account, engine_ports
from reconciler.probes.here import process_table
from reconciler.probes.places import ProbePlaces
from reconciler.probes.protocol import ProcessTable
from reconciler.probes.sources import OF_THIS_MACHINE, CardLook, CardSources

CONCURRENCY = 128
"""Engines at work at the same time: what this machine has to do for all of them must fit well into the timeout of one, or a busy machine
would call live engines dead."""

Wanted = Mapping[EngineId, Collection[str]]


async def probe_fleet(
    fleet: Fleet,
    wanted: Wanted,
    *,
    transport: Transport,
    at: str,
    concurrency: int = CONCURRENCY,
    only: Collection[str] | None = None,
    on_node: Callable[[NodeFacts], None] | None = None,
) -> FleetFacts:
    """What is there on every node (of `only` these, when given), as facts of the time `at` (ISO 8601 UTC).

    `wanted` names the models of each engine about which details are looked up. `on_node` hears of each node when it is done. Never raises
    for a node that is down or talks nonsense: its engines are unreachable, with the reason.
    """
    places = ProbePlaces(concurrency)
    sources = CardSources(transport, at)

    async def one(node: NodeSpec) -> NodeFacts:
        looking = asyncio.ensure_future(sources.look(node)) if sources.asks(node) else None
        engines = {seen.id.engine: seen for seen in await asyncio.gather(*(bounded(spec) for spec in node.engines))}

        async def whole() -> NodeFacts:
            return node_facts(node, await looking if looking is not None else sources.declared(node), engines)

        facts = await caught(whole(), node.name, lambda error: node_facts(node, sources.unread(node, error), engines))
        if on_node is not None:
            on_node(facts)
        return facts

    async def bounded(spec: EngineSpec) -> EngineFacts:
        return await places.ask(probe_engine(spec, transport, wanted.get(spec.id, ())))

    asked = [node for name, node in fleet.nodes.items() if only is None or name in only]
    transport.know(ref for node in fleet.nodes.values() for ref in (node.probe.bearer, *(spec.bearer for spec in node.engines)))
    return FleetFacts(at, {facts.node: facts for facts in await asyncio.gather(*(one(node) for node in asked))})


async def engines_reached(engines: Collection[EngineSpec], transport: Transport) -> frozenset[EngineId]:
    """Which of these answer where they are said to be; all are asked at once."""
    places = ProbePlaces(CONCURRENCY)
    transport.know(one.bearer for one in engines)
    found = await asyncio.gather(*(places.ask(probe_engine(one, transport)) for one in engines))
    return frozenset(one.id for one in found if one.reachable)


def node_facts(node: NodeSpec, look: CardLook, engines: Mapping[str, EngineFacts]) -> NodeFacts:
    """What a node's cards and engines said, put together: whose the cards' memory is, and what of it is foreign."""
    cards = look.cards
    if cards is not None and any(card.used_bytes is not None or card.processes for card in cards):
        pids = {process.pid for card in cards for process in card.processes or ()}
        table = look.table
        if table is None and look.probe is not None and look.probe.via in OF_THIS_MACHINE:
            table = process_table(pids, engine_ports(node.engines))
        cards = account(cards, node.engines, engines, table or ProcessTable())
    return NodeFacts(node.name, cards, look.ram_bytes, engines, look.probe)


async def probe_engine(spec: EngineSpec, transport: Transport, wanted: Collection[str] = ()) -> EngineFacts:
    """What one engine says of itself; unreachable with the reason when it cannot be asked."""
    try:
        engine = open_engine(spec, transport)
    except EngineError as error:
        return EngineFacts(spec.id, spec.kind, False, str(error), error.code)
    try:
        return replace(await engine.observe(wanted), clock_skew=transport.skews.get(spec.id))
    finally:
        await engine.aclose()
