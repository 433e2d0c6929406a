"""What is held: a replica that was repaired already and is again as it was, so that doing it once more would only go round in a circle."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Set
from dataclasses import field, fields
from datetime import UTC, datetime, timedelta

from reconciler.fleet import (
    Applied,
    AppliedReplica,
    Desired,
    EngineFacts,
    EngineId,
    FleetFacts,
    Identity,
    Incident,
    ModelSpec,
    parse_replica_address,
)
from reconciler.planning.kinds.model.evictions import EVICTED, EVICTIONS, evicted_by, find_circles, seen_evictions
from reconciler.planning.kinds.model.step import MODEL
from reconciler.planning.plan import Note, kind_of
from reconciler.value_class import value_class

HELD_FOR = timedelta(hours=1)
_SAME_SECOND = timedelta(seconds=-1)
"""The time of a plan is cut to the second, that of an incident is not."""
HELD = "held"
EVICTED_TOO_OFTEN = f"was evicted {EVICTIONS} times within an hour"
CONTEXT_DIFFERS, CPU_FALLBACK = "context_differs", "cpu_fallback"
RELOADS = frozenset({CONTEXT_DIFFERS, CPU_FALLBACK})
"""What a reload repairs; seen again within an hour of that, it is not tried again."""


@value_class
class Hold:
    """A replica that is left alone until `until` (UTC). `evicted`: it is not loaded again, `why` saying how it was evicted; else it is not
    reloaded for the `faults` that it was reloaded for already, each with the end of its own hold. `known`: the state knows of it
    already."""

    address: str
    evicted: bool
    until: datetime
    why: str = ""
    known: bool = False
    faults: Mapping[str, datetime] = field(default_factory=dict, hash=False)


@value_class
class Holds:
    """All of them by address, the recorded facts that tell who evicted what, and the evictions that they tell of."""

    by_address: Mapping[str, Hold]
    recorded: FleetFacts | None = None
    seen: tuple[Incident, ...] = ()

    def away(self) -> Set[tuple[str, EngineId]]:
        """Model and engine of those that are not loaded again."""
        return frozenset(parse_replica_address(hold.address) for hold in self.by_address.values() if hold.evicted)

    def as_is(self) -> Mapping[tuple[str, EngineId], Set[str]]:
        """Of those that are not reloaded, model and engine, with the faults for which they are not."""
        return {parse_replica_address(hold.address): frozenset(hold.faults) for hold in self.by_address.values() if not hold.evicted}

    def evicted_by(self, row: AppliedReplica, now: EngineFacts | None) -> str | None:
        """See `evicted_by`."""
        return evicted_by(row.engine_name, self.recorded.engine(row.at) if self.recorded is not None else None, now)


NO_HOLDS = Holds({})


def asked_digest(model: ModelSpec) -> str:
    """`sha256:…` over all that is asked of a model: an incident counts as long as that is the same."""
    shown = []
    for each in (one for one in fields(model) if one.compare):
        value = getattr(model, each.name)
        shown.append((each.name, sorted(value.items()) if isinstance(value, Mapping) else value))
    return "sha256:" + hashlib.sha256(repr(shown).encode()).hexdigest()


class _Digests:
    """What is asked of each model, as digests, worked out where they are needed."""

    def __init__(self, desired: Desired) -> None:
        self._models = {model.name: model for model in desired.wanted}
        self._known: dict[str, str] = {}

    def of(self, name: str) -> str | None:
        """None: nothing is asked of it."""
        if name not in self._known and name in self._models:
            self._known[name] = asked_digest(self._models[name])
        return self._known.get(name)


def recent(incidents: Iterable[Incident], digests: _Digests, now: str) -> Mapping[str, list[Incident]]:
    """By address those of the last hour about what is still asked in the same way, oldest first. `now` is ISO 8601 in UTC."""
    found: dict[str, list[Incident]] = defaultdict(list)
    for incident in sorted(incidents, key=lambda one: (one.address, one.at, one.code)):
        if kind_of(incident.address) != MODEL:
            continue
        name, _ = parse_replica_address(incident.address)
        digest = digests.of(name)
        if digest == incident.asked and _SAME_SECOND < _moment(now) - _moment(incident.at) < HELD_FOR:
            found[incident.address].append(incident)
    return found


def find_holds(
    facts: FleetFacts, desired: Desired, applied: Applied, recorded: FleetFacts | None, now: str, released: Set[str] = frozenset()
) -> Holds:
    """What is held at `now`: what was evicted three times within the hour, at its place, from place to place or in turn with others, and
    what was reloaded within the hour (that holds only where it is wrong again). `released` are the addresses of `--replace`."""
    digests = _Digests(desired)
    seen = tuple(
        Incident(row.address, EVICTED, facts.at, digest, evictor)
        for row, evictor in seen_evictions(applied, recorded, facts)
        if (digest := digests.of(row.model)) is not None
    )
    told = recent((*applied.incidents, *seen), digests, now) if applied.incidents or seen else {}
    circles = find_circles(told, applied, desired, facts)
    held: dict[str, Hold] = {}
    for address, incidents in told.items():
        if address in released:
            continue
        by_code: dict[str, list[Incident]] = defaultdict(list)
        for incident in incidents:
            by_code[incident.code].append(incident)
        row = applied.replicas.get(address)
        why = circles.why(address) if row is not None and _is_gone(row, facts.engine(row.at)) else None
        if by_code[HELD] or why is not None:
            since = _moment(by_code[HELD][-1].at if by_code[HELD] else now)
            held[address] = Hold(address, True, since + HELD_FOR, why or EVICTED_TOO_OFTEN, known=bool(by_code[HELD]))
            continue
        faults = {code: max(_moment(one.at) for one in by_code[code]) + HELD_FOR for code in sorted(RELOADS) if by_code[code]}
        if faults:
            held[address] = Hold(address, False, max(faults.values()), faults=faults)
    return Holds(held, recorded, seen)


def incidents_to_note(holds: Holds, notes: Iterable[Note], desired: Desired, now: str) -> tuple[Incident, ...]:
    """What an apply of the plan has to keep: the evictions that nobody noted yet, and the holds that begin with it, since the facts that
    it records no longer tell of either."""
    digests = _Digests(desired)
    found = list(holds.seen)
    for note in notes:
        hold = holds.by_address.get(note.address) if note.code == HELD else None
        if hold is not None and hold.evicted and not hold.known:
            digest = digests.of(parse_replica_address(note.address)[0])
            if digest is not None:
                found.append(Incident(note.address, HELD, now, digest))
    return tuple(found)


def _is_gone(row: AppliedReplica, engine: EngineFacts | None) -> bool:
    """Whether its engine shows that it is not resident, by name or weights."""
    if engine is None or engine.residents is None:
        return False
    return Identity(engine).resident(row.engine_name) is None


def held_message(hold: Hold, evictor: str | None, what: str, advice: str, fault: str = "") -> str:
    """Why it is held (for which `fault`, where it is not evictions) and until when, as a sentence without its subject."""
    end = hold.faults.get(fault, hold.until).strftime("%Y-%m-%d %H:%M")
    until = f"held until {end} UTC, until what is asked of it changes, or with --replace {hold.address}"
    if hold.evicted:
        last = f" (last for {evictor})" if evictor is not None else ""
        return f"{hold.why}{last} and is not loaded again: {until}"
    return f"drifted again within an hour of its reload ({what}){advice}: {until}"


def _moment(text: str) -> datetime:
    found = datetime.fromisoformat(text)
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)
