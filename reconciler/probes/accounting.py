"""Whose a card's memory is: its processes by engine, and what is left as foreign. Pure; unknown stays unknown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import PurePosixPath
from urllib.parse import urlsplit

from reconciler.fleet import CardFacts, CardProcess, EngineFacts, EngineKind, EngineSpec
from reconciler.probes.protocol import ProcessTable

_NAMES: Mapping[EngineKind, frozenset[str]] = {
    EngineKind.OLLAMA: frozenset(("ollama", "ollama_llama_server", "llama-server")),
    EngineKind.LLAMACPP: frozenset(("llama-server",)),
    EngineKind.VLLM: frozenset(("vllm", "VLLM::EngineCore", "VLLM::EngineCor", "VLLM::Worker")),
    EngineKind.LLAMASWAP: frozenset(("llama-swap", "llama-server")),
}
"""What the processes are called that hold cards for an engine: only asked where its port leads to none of them."""
_DEEPEST = 64
Facts = Mapping[str, EngineFacts]
"""The engines of a node, by name."""


def account(
    cards: Sequence[CardFacts],
    engines: Sequence[EngineSpec],
    facts: Facts,
    table: ProcessTable = ProcessTable(),  # noqa: B008 (frozen)
) -> tuple[CardFacts, ...]:
    """The cards with the engine of every process that is one's, and with `foreign_bytes`: what is used less what our engines account for.

    Where all processes of a card are seen, an engine accounts for what its processes hold; else for what it reports. What is only looked at
    is foreign: nothing of it is ours to give away. Unknown where the card's use is, or where an engine cannot say what it holds, or on
    which of its cards; then what others are seen to hold is a bound.
    """
    engines = [spec for spec in engines if not spec.kind.is_looked_at]
    owned = tuple(_with_owners(card, engines, facts, table) for card in cards)
    return tuple(_with_foreign(card, owned, engines, facts) for card in owned)


def engine_ports(engines: Sequence[EngineSpec]) -> Mapping[int, EngineSpec]:
    """The engines of a node by the port that they are asked at."""
    found: dict[int, EngineSpec] = {}
    for spec in engines:
        try:
            parts = urlsplit(spec.url)
            port = parts.port or (443 if parts.scheme == "https" else 80)
        except ValueError:
            continue
        found.setdefault(port, spec)
    return found


def _with_owners(card: CardFacts, engines: Sequence[EngineSpec], facts: Facts, table: ProcessTable) -> CardFacts:
    if not card.processes:
        return card
    ports = engine_ports(engines)
    listeners = {table.listeners[port]: spec.id.engine for port, spec in ports.items() if port in table.listeners}
    seen = set(listeners.values())
    unseen = [spec for spec in engines if spec.id.engine not in seen and card.is_named_in(spec.gpus)]
    return replace(card, processes=tuple(_owned(one, listeners, unseen, facts, table) for one in card.processes))


def _owned(
    process: CardProcess, listeners: Mapping[int, str], unseen: Sequence[EngineSpec], facts: Facts, table: ProcessTable
) -> CardProcess:
    container = table.containers.get(process.pid, process.container)
    name = process.name or table.names.get(process.pid)
    engine = _above(process.pid, listeners, table) or _by_name(name, unseen, facts)
    return replace(process, name=name, container=container, engine=engine)


def _above(pid: int, listeners: Mapping[int, str], table: ProcessTable) -> str | None:
    for _ in range(_DEEPEST):
        if pid in listeners:
            return listeners[pid]
        above = table.parents.get(pid)
        if above is None:
            return None
        pid = above
    return None


def _by_name(name: str | None, unseen: Sequence[EngineSpec], facts: Facts) -> str | None:
    """The one engine whose own process was not seen (it is in a container, or not ours to look at) that may hold this one."""
    if name is None:
        return None
    able = [spec for spec in unseen if _word(name) in _NAMES[spec.kind] and _may_hold(facts.get(spec.id.engine))]
    return able[0].id.engine if len(able) == 1 else None


def _word(name: str) -> str:
    return PurePosixPath(name.split(" ")[0]).name


def _may_hold(facts: EngineFacts | None) -> bool:
    if facts is None or not facts.reachable or facts.residents is None:
        return True
    return any(resident.vram_bytes != 0 for resident in facts.residents)


def _with_foreign(card: CardFacts, cards: Sequence[CardFacts], engines: Sequence[EngineSpec], facts: Facts) -> CardFacts:
    bound = [spec for spec in engines if card.is_named_in(spec.gpus)]
    if card.used_bytes is None:
        least = _surely_foreign(card, bound, facts)
        return card if least is None else replace(card, foreign_bytes=max(least, card.foreign_bytes or 0))
    ours = _by_processes(card, bound, facts)
    if ours is None:
        ours = _by_reports(card, cards, bound, facts)
    if ours is None:
        return replace(card, foreign_bytes=_surely_foreign(card, bound, facts), assumed=True)
    return replace(card, foreign_bytes=max(0, card.used_bytes - ours), assumed=False)


def _surely_foreign(card: CardFacts, bound: Sequence[EngineSpec], facts: Facts) -> int | None:
    """What processes hold that can be none of our engines': a lower bound where the whole cannot be told; None where it is nothing."""
    unseen = [
        spec for spec in bound if all(one.engine != spec.id.engine for one in card.processes or ()) and _may_hold(facts.get(spec.id.engine))
    ]
    names = frozenset().union(*(_NAMES[spec.kind] for spec in unseen))
    least = 0
    for process in card.processes or ():
        may_be_ours = process.engine is not None or (unseen and (process.name is None or _word(process.name) in names))
        least += 0 if may_be_ours else process.used_bytes or 0
    return least or None


def _by_processes(card: CardFacts, bound: Sequence[EngineSpec], facts: Facts) -> int | None:
    """What the processes of our engines hold; None where not all are seen with their bytes, or none is ours though an engine holds some."""
    if card.processes is None or any(process.used_bytes is None for process in card.processes):
        return None
    held = sum(process.used_bytes or 0 for process in card.processes if process.engine is not None)
    if held == 0 and any(_reported(facts.get(spec.id.engine)) != 0 for spec in bound):
        return None
    return held


def _by_reports(card: CardFacts, cards: Sequence[CardFacts], bound: Sequence[EngineSpec], facts: Facts) -> int | None:
    total = 0
    for spec in bound:
        reported = _reported(facts.get(spec.id.engine))
        if reported is None:
            return None
        own = [one for one in cards if one.is_named_in(spec.gpus)]
        if reported == 0 or len(own) == 1:
            total += reported
            continue
        # An engine on several cards does not say which: only where all that they lost may be its own, nothing is foreign.
        if any(one.used_bytes is None for one in own) or sum(one.used_bytes or 0 for one in own) > reported:
            return None
        total += card.used_bytes or 0
    return total


def _reported(facts: EngineFacts | None) -> int | None:
    """Bytes on cards that an engine says it holds; None where it cannot be asked, or cannot tell."""
    if facts is None or not facts.reachable or facts.residents is None:
        return None
    total = 0
    for resident in facts.residents:
        if resident.vram_bytes is None:
            return None
        total += resident.vram_bytes
    return total
