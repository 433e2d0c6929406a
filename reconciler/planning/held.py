"""What is held: a replica that was repaired already and is again as it was, so that doing it once more would only go round in a circle."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta

from reconciler.fleet import (
    Applied,
    AppliedReplica,
    Desired,
    EngineFacts,
    EngineId,
    FleetFacts,
    Incident,
    ModelSpec,
    parse_replica_address,
)
from reconciler.planning.plan import Note

HELD_FOR = timedelta(hours=1)
EVICTIONS = 3
"""So often within an hour, and it is loaded no more."""
EVICTED, HELD = "evicted", "held"
RELOADS = frozenset({"context_differs", "cpu_fallback"})
"""What a reload repairs; seen again within an hour of that, it is not tried again."""


@dataclass(frozen=True, slots=True)
class Hold:
    """A replica that is left alone until `until` (UTC). `evicted`: it is not loaded again; else it is not reloaded."""

    address: str
    evicted: bool
    until: datetime


@dataclass(frozen=True, slots=True)
class Holds:
    """All of them by address, and the recorded facts that tell who evicted what."""

    by_address: Mapping[str, Hold]
    recorded: FleetFacts | None = None

    def at(self, evicted: bool) -> Set[tuple[str, EngineId]]:
        """Model and engine of those that are not loaded again, or of those that are not reloaded."""
        return frozenset(parse_replica_address(hold.address) for hold in self.by_address.values() if hold.evicted is evicted)

    def evicted_by(self, row: AppliedReplica, now: EngineFacts | None) -> str | None:
        """See `evicted_by`."""
        return evicted_by(row.engine_name, self.recorded.engine(row.at) if self.recorded is not None else None, now)


NO_HOLDS = Holds({})


def asked_digest(model: ModelSpec) -> str:
    """`sha256:…` over all that is asked of a model: an incident counts as long as that is the same."""
    shown = []
    for each in fields(model):
        value = getattr(model, each.name)
        shown.append((each.name, sorted(value.items()) if isinstance(value, Mapping) else value))
    return "sha256:" + hashlib.sha256(repr(shown).encode()).hexdigest()


def recent(incidents: Iterable[Incident], desired: Desired, now: str) -> Mapping[str, list[Incident]]:
    """By address those of the last hour about what is still asked in the same way, oldest first. `now` is ISO 8601 in UTC."""
    found: dict[str, list[Incident]] = defaultdict(list)
    digests: dict[str, str] = {}
    models = {model.name: model for model in desired.wanted}
    for incident in sorted(incidents, key=lambda one: (one.address, one.at, one.code)):
        name, _ = parse_replica_address(incident.address)
        if name not in models or not timedelta() <= _moment(now) - _moment(incident.at) < HELD_FOR:
            continue
        if name not in digests:
            digests[name] = asked_digest(models[name])
        if digests[name] == incident.asked:
            found[incident.address].append(incident)
    return found


def find_holds(
    facts: FleetFacts, desired: Desired, applied: Applied, recorded: FleetFacts | None, now: str, released: Set[str] = frozenset()
) -> Holds:
    """What is held at `now`: what was evicted three times within the hour, and what was reloaded within the hour (that holds only where it
    is wrong again). `released` are the addresses of `--replace`."""
    held: dict[str, Hold] = {}
    for address, incidents in recent(applied.incidents, desired, now).items() if applied.incidents else ():
        if address in released:
            continue
        by_code: dict[str, list[Incident]] = defaultdict(list)
        for incident in incidents:
            by_code[incident.code].append(incident)
        row = applied.replicas.get(address)
        again = row is not None and evicted_by(row.engine_name, recorded.engine(row.at) if recorded else None, facts.engine(row.at))
        if by_code[HELD] or (again and len(by_code[EVICTED]) >= EVICTIONS - 1):
            since = _moment(by_code[HELD][-1].at if by_code[HELD] else now)
            held[address] = Hold(address, True, since + HELD_FOR)
            continue
        reloaded = [incident for code in RELOADS for incident in by_code[code]]
        if reloaded:
            held[address] = Hold(address, False, max(_moment(one.at) for one in reloaded) + HELD_FOR)
    return Holds(held, recorded)


def newly_held(notes: Iterable[Note], desired: Desired, applied: Applied, now: str) -> list[str]:
    """The addresses that a plan made at `now` holds since they were evicted once too often, and of which the state does not know it yet."""
    incidents = recent(applied.incidents, desired, now)
    found = []
    for note in notes:
        codes = [incident.code for incident in incidents.get(note.address, ())] if note.code == HELD else []
        if HELD not in codes and codes.count(EVICTED) >= EVICTIONS - 1:
            found.append(note.address)
    return found


def evicted_by(name: str, was: EngineFacts | None, now: EngineFacts | None) -> str | None:
    """The resident for which an engine threw `name` out: `name` is gone, this one came, and all the rest stayed. None where it was not
    so (all gone is a restart, and a lone disappearance may have any cause), or nobody can tell."""
    if was is None or now is None or not (was.reachable and now.reachable) or was.residents is None or now.residents is None:
        return None
    blobs = {installed.name: installed.blob for engine in (was, now) for installed in engine.installed or ()}
    before, after = {one.name for one in was.residents}, {one.name for one in now.residents}
    own = {one.name for one in was.residents if one.name == name or (one.blob is not None and one.blob == blobs.get(name))}
    if not own or any(one.name == name or (one.blob is not None and one.blob == blobs.get(name)) for one in now.residents):
        return None
    came = sorted(after - before)
    return came[0] if came and before - own <= after else None


def held_message(hold: Hold, evictor: str | None, what: str, advice: str) -> str:
    """Why it is held and until when, as a sentence without its subject."""
    until = f"held until {hold.until.strftime('%Y-%m-%d %H:%M')} UTC, until what is asked of it changes, or with --replace {hold.address}"
    if hold.evicted:
        last = f" (last for {evictor})" if evictor is not None else ""
        return f"was evicted {EVICTIONS} times within an hour{last} and is not loaded again: {until}"
    return f"was reloaded within the last hour and is again not as wanted ({what}){advice}: {until}"


def _moment(text: str) -> datetime:
    found = datetime.fromisoformat(text)
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)
