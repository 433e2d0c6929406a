"""What `gpurec drift` keeps between runs, outside the state: since when each field is seen as drifted, and how many runs in a row."""

from __future__ import annotations

from collections.abc import Container, Iterator
from dataclasses import field, replace
from datetime import UTC, datetime

from reconciler.planning.plan import Deferred, Drift, Plan
from reconciler.value_class import value_class

Key = tuple[str, str, str]
"""Address, kind and field."""


@value_class
class SeenDrift:
    """One drifted field, or one engine that cannot be reached. Times are ISO 8601 in UTC, of the first and the last run that saw it so."""

    address: str
    kind: str
    field: str
    first_seen: str
    last_seen: str
    runs: int

    @property
    def key(self) -> Key:
        return self.address, self.kind, self.field


@value_class
class DriftMemory:
    """All that was drifted at `at`, in order of its keys. `lineage` and `last_run` are the state's, None where there was none."""

    fleet: str
    lineage: str | None
    at: str
    last_run: int | None = None
    seen: tuple[SeenDrift, ...] = ()


@value_class
class Since:
    """`--since`. `at` is ISO 8601 in UTC. `known` are the keys that were drifted already when the last apply looked, and `known_at` when
    that was; `latest` says that the question is about that very apply. Both are used where no memory tells more."""

    at: str
    known: frozenset[Key] = frozenset()
    known_at: str | None = None
    latest: bool = False


@value_class
class DriftReport:
    """A plan's drift, sorted by what was asked: `counted` is told and decides the exit status, `waiting` was not seen often enough in a
    row, `older` appeared before. `seen` is empty without a memory. `unreachable` says whether what is deferred decides the exit status."""

    plan: Plan
    counted: tuple[Drift, ...]
    waiting: tuple[Drift, ...] = ()
    older: tuple[Drift, ...] = ()
    unreachable: bool = False
    seen: dict[Key, SeenDrift] = field(default_factory=dict)
    in_a_row: int = 1
    since: str | None = None


def with_node_renamed(memory: DriftMemory, old: str, new: str) -> DriftMemory:
    """The memory after the node `old` got the name `new`: what was seen of it counts on."""
    seen = (replace(one, address=_of_node(one.address, old, new)) for one in memory.seen)
    return replace(memory, seen=tuple(sorted(seen, key=lambda one: one.key)))


def _of_node(address: str, old: str, new: str) -> str:
    """`model.NAME@NODE/ENGINE`, `engine.NODE/ENGINE` or `gpu.NODE/INDEX` with the node's other name."""
    kind, _, rest = address.partition(".")
    name, at, place = rest.rpartition("@") if kind == "model" else ("", "", rest)
    node, slash, what = place.partition("/")
    return f"{kind}.{name}{at}{new}{slash}{what}" if node == old else address


def drift_key(entry: Drift) -> Key:
    return entry.address, entry.kind, entry.field


def deferred_key(entry: Deferred) -> Key:
    place = entry.node if entry.engine is None else f"{entry.node}/{entry.engine}"
    return f"engine.{place}", "unreachable", "reachable"


def remember(memory: DriftMemory | None, plan: Plan, last_run: int | None = None, unrepaired: Container[Key] | None = None) -> DriftMemory:
    """What to keep after this look; `last_run` is the state's latest run.

    A field that is as it was again is forgotten; what lies on an engine that cannot be asked keeps its count, since nothing is known of it.
    `unrepaired` is given when something was applied since the memory was written: what is not in it was repaired then, and is counted anew.
    The memory of another lineage counts for nothing.
    """
    before = {one.key: one for one in memory.seen} if memory is not None and memory.lineage == plan.lineage else {}
    if unrepaired is not None:
        before = {key: one for key, one in before.items() if key[1] == "unreachable" or key in unrepaired}
    kept: dict[Key, SeenDrift] = {}
    for key in _keys(plan):
        was = before.get(key)
        first, runs = (was.first_seen, was.runs) if was is not None else (plan.created_at, 0)
        kept[key] = SeenDrift(*key, first, plan.created_at, runs + 1)
    silent = tuple(f"{one.node}/{one.engine}" if one.engine is not None else f"{one.node}/" for one in plan.deferred)
    for key, was in before.items():
        if key not in kept and key[1] != "unreachable" and _lies_on(key[0], silent):
            kept[key] = was
    return DriftMemory(plan.fleet, plan.lineage, plan.created_at, last_run, tuple(kept[key] for key in sorted(kept)))


def judge(plan: Plan, memory: DriftMemory | None = None, in_a_row: int = 1, since: Since | None = None) -> DriftReport:
    """Sorts a plan's drift. `memory` is the one with this look in it. Where nobody can tell since when something drifted, it counts."""
    seen = {one.key: one for one in memory.seen} if memory is not None else {}
    counted, waiting, older = [], [], []
    for entry in plan.drift:
        key = drift_key(entry)
        if since is not None and not _appeared(key, seen.get(key), since):
            older.append(entry)
        elif in_a_row > 1 and key in seen and seen[key].runs < in_a_row:
            waiting.append(entry)
        else:
            counted.append(entry)
    unreachable = any(in_a_row <= 1 or (one := seen.get(deferred_key(entry))) is None or one.runs >= in_a_row for entry in plan.deferred)
    at = since.at if since is not None else None
    return DriftReport(plan, tuple(counted), tuple(waiting), tuple(older), unreachable, seen, in_a_row, at)


def _keys(plan: Plan) -> Iterator[Key]:
    yield from map(drift_key, plan.drift)
    yield from map(deferred_key, plan.deferred)


def _appeared(key: Key, seen: SeenDrift | None, since: Since) -> bool:
    """Whether it appeared at `since` or later, or may have."""
    if seen is not None:
        return moment(seen.first_seen) >= moment(since.at)
    if key not in since.known or since.known_at is None:
        return True
    return not since.latest and moment(since.at) < moment(since.known_at)


def _lies_on(address: str, places: tuple[str, ...]) -> bool:
    kind, _, rest = address.partition(".")
    place = rest.rpartition("@")[2] if kind == "model" else rest
    return any(place == one or (one.endswith("/") and place.startswith(one)) for one in places)


def moment(text: str) -> datetime:
    """The time of ISO 8601 text; without a zone it is UTC. ValueError for anything else."""
    found = datetime.fromisoformat(text)
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)
