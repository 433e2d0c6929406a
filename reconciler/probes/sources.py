"""Which way a node's cards are asked for, and what all nodes of a run share: one look at this machine, and so many questions at a time."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

from reconciler.engines import Transport
from reconciler.engines.clock import skew
from reconciler.fleet import CardFacts, CardProbe, EngineError, NodeSpec
from reconciler.hosts import is_this_machine
from reconciler.probes.combine import combine
from reconciler.probes.declared import SOURCE as DECLARED
from reconciler.probes.declared import declared_cards
from reconciler.probes.here import nvml_is_here, tool_here
from reconciler.probes.places import ProbePlaces
from reconciler.probes.protocol import CardSource, ProbeError, ProcessTable, Seen
from reconciler.value_class import value_class

AT_ONCE = 64
"""Programs (ssh) and scrapes that are at work at the same time: processes are dearer than connections."""
MOST_PROGRAMS = 256
"""The same with those that wait for a node that says nothing."""

LOCAL = "local"
OF_THIS_MACHINE = ("nvml", LOCAL)
"""Ways that ask this machine itself: once in a run, however many nodes it is."""
_SILENT = (DECLARED, "none")
_COMPUTES = 0.5
"""The share of time from which a card is at work for certain, and so has something in its memory."""


def way_of(node: NodeSpec) -> str:
    """`nvml`, `local`, `ssh`, `dcgm`, `exporter`, `prometheus`, `declared` or `none`: what `probe.via` says, and for `auto` on this machine
    its own tools, with NVML, or NVML alone, elsewhere ssh where a user is given, else what is declared."""
    if node.probe.via != "auto":
        return node.probe.via
    if is_this_machine(node):
        if tool_here() is not None:
            return LOCAL
        return "nvml" if nvml_is_here() else DECLARED
    return "ssh" if node.probe.user is not None and node.probe.connection is None else DECLARED


def is_probed(node: NodeSpec) -> bool:
    """Whether a node is asked for its cards at all."""
    return way_of(node) not in _SILENT


@value_class
class CardLook:
    """What came of asking one node for its cards."""

    cards: tuple[CardFacts, ...] | None
    ram_bytes: int | None
    probe: CardProbe | None
    table: ProcessTable | None = None


class CardSources:
    """Asks nodes for their cards, each in its way. One object a run."""

    def __init__(self, transport: Transport, at: str, at_once: int = AT_ONCE) -> None:
        self._transport = transport
        self._at = at
        self._places = ProbePlaces(at_once, most=MOST_PROGRAMS)
        self._sources: dict[str, CardSource] = {}
        self._here: asyncio.Task[Seen] | None = None

    def asks(self, node: NodeSpec) -> bool:
        """Whether a node is asked for its cards at all."""
        return is_probed(node)

    def declared(self, node: NodeSpec) -> CardLook:
        """What the inventory says of a node that is not asked."""
        return CardLook(declared_cards(node), node.ram, None)

    def unread(self, node: NodeSpec, error: EngineError) -> CardLook:
        """What is left of a node whose answer no reader was made for: the declared cards, with the reason."""
        problem = error.problems[0]
        reason = problem.what + (f"; {problem.hint}" if problem.hint else "")
        return CardLook(declared_cards(node), node.ram, CardProbe(way_of(node), self._at, reason, error.code))

    async def look(self, node: NodeSpec) -> CardLook:
        """The node's cards; the declared ones, with the reason, where they cannot be asked for."""
        way = way_of(node)
        if way in _SILENT:
            return self.declared(node)
        loop = asyncio.get_running_loop()
        start, wall = loop.time(), time.time()
        try:
            seen = await self._seen(way, node)
        except ProbeError as error:
            probe = CardProbe(way, self._at, _sentence(error), error.code, (), loop.time() - start)
            return CardLook(declared_cards(node), node.ram, probe)
        off = skew(seen.clock, wall, time.time())
        reason, code = (None, None) if seen.partly is None else (_sentence(seen.partly), seen.partly.code)
        probe = CardProbe(way, self._at, reason, code, seen.notes, loop.time() - start, off)
        ram = seen.ram_bytes if seen.ram_bytes is not None else node.ram
        if seen.cards is None:
            return CardLook(declared_cards(node), ram, probe, seen.table)
        cards, notes = combine(node, [_consistent(card) for card in seen.cards], ram, seen.lost, reason)
        return CardLook(cards, ram, replace(probe, notes=(*seen.notes, *notes)), seen.table)

    async def _seen(self, way: str, node: NodeSpec) -> Seen:
        source = self._sources.get(way)
        if source is None:
            source = self._sources[way] = self._open(way)
        if way in OF_THIS_MACHINE:
            if self._here is None:
                self._here = asyncio.ensure_future(source.look(node, self._at))
            return await asyncio.shield(self._here)
        return await self._places.ask(source.look(node, self._at))

    def _open(self, way: str) -> CardSource:
        if way == "nvml":
            from reconciler.probes.nvml import Nvml

            return Nvml(clean=self._transport.keys.without)
        if way == LOCAL:
            from reconciler.probes.local import Local

            return Local(clean=self._transport.keys.without)
        if way == "ssh":
            from reconciler.probes.ssh import Ssh

            return Ssh(clean=self._transport.keys.without)
        if way == "prometheus":
            from reconciler.probes.prometheus import PrometheusCards

            return PrometheusCards(self._transport)
        from reconciler.probes.scrape import Scrape

        return Scrape(way, self._transport)


def _sentence(error: ProbeError) -> str:
    problem = error.problems[0]
    return problem.what + (f"; {problem.hint}" if problem.hint else "")


def _consistent(card: CardFacts) -> CardFacts:
    """The card; its use is unknown where that is above its size, less than what a process of it holds, or nothing while it computes."""
    used = card.used_bytes
    if used is None:
        return card
    held = max((process.used_bytes or 0 for process in card.processes or ()), default=0)
    busy = used == 0 and (card.utilisation or 0) >= _COMPUTES
    if (card.total_bytes is None or used <= card.total_bytes) and held <= used and not busy:
        return card
    return replace(card, used_bytes=None, assumed=True)
