"""Detects evictions and eviction loops: at one place, between places, or between models in turn."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence, Set

from reconciler.fleet import (
    Applied,
    AppliedReplica,
    Desired,
    EngineFacts,
    EngineId,
    Ensure,
    FleetFacts,
    Identity,
    Incident,
    WantedNames,
    parse_replica_address,
)
from reconciler.value_class import value_class

EVICTED = "evicted"
EVICTIONS = 3
"""So often within an hour, and it is loaded no more."""
Round = tuple[EngineId, str]
"""A model at an engine."""


def evicted_by(name: str, was: EngineFacts | None, now: EngineFacts | None) -> str | None:
    """The resident for which an engine threw `name` out: `name` is gone, this one came, and all the rest stayed. None where it was not
    so (all gone is a restart, and a lone disappearance may have any cause), or nobody can tell."""
    if was is None or now is None or not now.reachable or was.residents is None or now.residents is None:
        return None
    gone = Identity(was).resident(name)
    if gone is None or Identity(now).resident(name) is not None:
        return None
    before, after = {one.name for one in was.residents}, {one.name for one in now.residents}
    came = sorted(after - before)
    return came[0] if came and before - {gone.name} <= after else None


def seen_evictions(applied: Applied, recorded: FleetFacts | None, facts: FleetFacts) -> Iterator[tuple[AppliedReplica, str]]:
    """The replicas that were evicted since the facts that the last run recorded, each with what it was evicted for. One of which that run
    itself noted an eviction after it had looked is none: it was cut off before it could record what it left."""
    changed = set(_changed_engines(recorded, facts)) if recorded is not None and recorded is not facts else set()
    if recorded is None or not changed:
        return
    noted = {incident.address for incident in applied.incidents if incident.code == EVICTED and incident.at > recorded.at}
    for address, row in sorted(applied.replicas.items()):
        if row.at in changed and row.ensure == Ensure.LOADED and address not in noted:
            evictor = evicted_by(row.engine_name, recorded.engine(row.at), facts.engine(row.at))
            if evictor is not None:
                yield row, evictor


def _changed_engines(recorded: FleetFacts, facts: FleetFacts) -> Iterator[EngineId]:
    """Those from which a resident went and to which one came."""
    for node in recorded.nodes.values():
        for was in node.engines.values():
            now = facts.engine(was.id)
            if now is None or not (was.residents and now.residents):
                continue
            before, after = {one.name for one in was.residents}, {one.name for one in now.residents}
            if before - after and after - before:
                yield was.id


@value_class
class Circles:
    """Evictions of one hour, to be asked how they count against a replica that is gone. `round_of` has for a model at an engine all that
    evict one another there in turn."""

    by_address: Mapping[str, Sequence[Incident]]
    by_model: Mapping[str, Sequence[Incident]]
    replicas: Mapping[str, int | None]
    round_of: Mapping[Round, Set[str]]
    edges: Mapping[EngineId, Sequence[tuple[str, str]]]

    def why(self, address: str) -> str | None:
        """Why a replica was evicted once too often, as a clause; None where it was not.

        It was where it is; or its model was so often, wherever it was put, that one of its replicas must have been; or it and those that
        it is evicted for throw one another out in turn.
        """
        model, at = parse_replica_address(address)
        own = self.by_address.get(address, ())
        if len(own) >= EVICTIONS:
            return f"was evicted {len(own)} times within an hour"
        others = self.round_of.get((at, model), frozenset()) - {model}
        turns = sum(1 for gone, came in self.edges.get(at, ()) if {gone, came} <= others | {model}) if others else 0
        if turns >= EVICTIONS:
            return f"was evicted in turn with {' and '.join(sorted(others))}, {turns} times within an hour"
        count, everywhere = self.replicas.get(model), self.by_model.get(model, ())
        if count is not None and own and len(everywhere) > (EVICTIONS - 1) * count:
            places = sorted({str(parse_replica_address(one.address)[1]) for one in everywhere})
            return f"was evicted {len(everywhere)} times within an hour, at {' and '.join(places)}"
        return None


def find_circles(incidents: Mapping[str, Sequence[Incident]], applied: Applied, desired: Desired, facts: FleetFacts) -> Circles:
    """`incidents` by address are those of the last hour that still count; others than evictions are passed over."""
    evictions = {address: found for address, every in incidents.items() if (found := [one for one in every if one.code == EVICTED])}
    by_model: dict[str, list[Incident]] = defaultdict(list)
    edges: dict[EngineId, list[tuple[str, str]]] = defaultdict(list)
    names = _Names(applied, desired, facts) if evictions else None
    for address, found in evictions.items():
        model, at = parse_replica_address(address)
        by_model[model].extend(found)
        for one in found:
            evictor = names.model(at, one.evictor) if names is not None and one.evictor is not None else None
            if evictor is not None and evictor != model:
                edges[at].append((model, evictor))
    rounds: dict[Round, Set[str]] = {}
    for at, pairs in edges.items():
        reached = {model: _reached(model, pairs) for model in {one for pair in pairs for one in pair}}
        rounds |= {(at, model): frozenset(other for other in there if model in reached[other]) for model, there in reached.items()}
    replicas = {model.name: None if model.each is not None else model.replicas for model in desired.wanted}
    return Circles(evictions, by_model, replicas, rounds, edges)


class _Names:
    """Which model a resident is: by what was applied there, else by what the files call it."""

    def __init__(self, applied: Applied, desired: Desired, facts: FleetFacts) -> None:
        self._rows = {(row.at, row.engine_name): row.model for row in applied.replicas.values()}
        self._wanted = WantedNames(desired.wanted)
        self._facts = facts

    def model(self, at: EngineId, name: str) -> str | None:
        engine = self._facts.engine(at)
        wanted = self._wanted.called(engine.kind, name) if engine is not None else ()
        return self._rows.get((at, name)) or (wanted[0].name if wanted else None)


def _reached(start: str, pairs: Sequence[tuple[str, str]]) -> Set[str]:
    """Everything that is reached from `start` along `pairs` in at least one step."""
    found: set[str] = set()
    waiting = [start]
    while waiting:
        at = waiting.pop()
        for gone, came in pairs:
            if gone == at and came not in found:
                found.add(came)
                waiting.append(came)
    return found
