"""One loop of several over one fleet: which nodes it looks at, what the others saw of theirs, and whose part has to be taken over.

Every node has a home: the parts are dealt over the sorted names. A loop that is not heard of for `LATE` intervals is taken for dead, and
its nodes are dealt over those that live. All of it follows from the rows of the board and its clock, so that nobody has to be asked; where
two loops see different rows for a moment, a node is looked at twice, or a moment later.
"""

from __future__ import annotations

import asyncio
import time
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping, Sequence, Set
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from uuid import uuid4

from reconciler.fleet import LOCAL, FleetFacts, GpurecError, NodeFacts, StateError, Topic
from reconciler.operations.proposal import Proposal
from reconciler.probes import facts_from_json, facts_to_json
from reconciler.service.conditions import Condition, node_of
from reconciler.state import Shard, ShardBoard, ShardRow, Store
from reconciler.value_class import value_class

LATE = 1.6
"""Intervals after which a loop that was not heard of is taken for dead: its own pause (1.1 at most) and half an interval for a look. What
is left of two intervals is for the look of who takes over."""
OPTION = "--shard"
"""By which the command in the lock tells that its holder is one of several loops."""
_A_MOMENT = 0.05
_DOCUMENT = 250
"""Nodes in one document of a row: a document is read or written in one go, while which nothing else of the process goes on."""
_MOST_BYTES = 512 * 2**20
_OF_A_RUN = frozenset({Topic.FAILED, Topic.ERROR})


@value_class
class FleetPart:
    """What one look is about. `nodes` None: the whole fleet, by itself. `elsewhere` is what the others saw of theirs; `first`: this loop
    tells what is of no node. `found` is what is wrong with the loops themselves."""

    nodes: frozenset[str] | None = None
    elsewhere: FleetFacts | None = None
    first: bool = True
    found: tuple[Condition, ...] = ()

    def has(self, node: str | None) -> bool:
        """Whether this loop tells of what is there; None and the control machine are the first one's."""
        if self.nodes is None:
            return True
        return self.first if node is None or node == LOCAL else node in self.nodes

    def tells(self, one: Condition) -> bool:
        """Whether this loop tells it: what a run came to is told by whoever carried it out."""
        return one.topic in _OF_A_RUN or self.has(one.at[0] if one.at is not None else None)

    def has_work(self, proposal: Proposal) -> bool:
        """Whether an apply would do or record anything here that is not recorded yet."""
        plan = proposal.plan
        if plan.refusals:
            return False
        new = plan.placed.keys() - proposal.applied.replicas.keys()
        addresses = (*new, *plan.forgotten, *(one.address for one in plan.incidents))
        return any(self.has(step.node) for step in plan.steps) or any(self.has(node_of(one)) for one in addresses)

    def is_incomplete(self, proposal: Proposal) -> bool:
        """Whether something here could not be asked."""
        return any(self.has(one.node) for one in proposal.plan.deferred)


WHOLE = FleetPart()


def deal(names: Iterable[str], shard: Shard, living: Collection[int]) -> frozenset[str]:
    """The nodes that a shard looks at when these numbers live, its own among them."""
    takers = sorted({*living, shard.number})
    mine, lost = set(), 0
    for position, name in enumerate(sorted(names)):
        home = position % shard.of + 1
        if home not in takers:
            home = takers[lost % len(takers)]
            lost += 1
        if home == shard.number:
            mine.add(name)
    return frozenset(mine)


def is_late(row: ShardRow) -> bool:
    """Whether a loop is taken for dead."""
    return row.heard > LATE * row.interval


class Sharding:
    """One shard's knowledge of the others, from look to look."""

    def __init__(self, shard: Shard, interval: float) -> None:
        self._shard, self._interval = shard, interval
        self._owner = str(uuid4())
        self._looks = 0
        self._looked_at: frozenset[str] | None = None
        self._cut_off = False
        """Whether the last look was not given to the others."""
        self._board: ShardBoard | None = None
        self._living: frozenset[int] = frozenset()
        self._due: float | None = None
        """When the next of those living is late unless it is heard of, in seconds of `time.monotonic`."""

    async def part(self, store: Store, fleet: str, names: Collection[str]) -> FleetPart:
        """What to look at now. Raises StateError where the state cannot be read, or is a file."""
        self._board = store.shards(fleet)
        cut_off, self._cut_off = self._cut_off, True
        rows = await asyncio.to_thread(self._board.read)
        if cut_off:
            rows = self._heard(rows)
        self._await(rows)
        living = self._living | {self._shard.number}
        nodes = deal(names, self._shard, living)
        first = self._shard.number == min(living)
        found = [*self._twins(rows)]
        if first:
            found += [*self._lost(rows, living), *self._other_counts(rows)]
        own = self._looked_at is not None and self._looked_at <= nodes  # then its own row tells nothing of the others' nodes
        told = [row for row in rows if not own or row.owner != self._owner]
        return FleetPart(nodes, await asyncio.to_thread(_seen, told, set(names) - nodes), first, tuple(found))

    async def looked(self, part: FleetPart, facts: FleetFacts) -> None:
        """Gives the others what was seen. Raises StateError."""
        assert self._board is not None
        assert part.nodes is not None
        own = FleetFacts(facts.at, {name: node for name, node in facts.nodes.items() if name in part.nodes})
        body = await asyncio.to_thread(packed, own)
        await asyncio.to_thread(self._board.looked, self._shard, self._owner, self._interval, body)
        self._looks, self._looked_at, self._cut_off = self._looks + 1, part.nodes, False

    async def pause(self, seconds: float, wait: Callable[[float], Awaitable[bool | None]]) -> None:
        """Waits so long by `wait`, which says whether it was woken; less long where another loop turns out to be dead meanwhile."""
        end = time.monotonic() + seconds
        while True:
            left = end - time.monotonic()
            until = left if self._due is None else min(left, self._due - time.monotonic())
            if await wait(max(0.0, until)) or until >= left or self._board is None:
                return
            try:
                rows = await asyncio.to_thread(self._board.read, bodies=False)
            except StateError:
                return  # the look says it
            before = self._living
            self._await(rows)
            if before - self._living:
                return

    def is_of_another(self, store: Store) -> bool:
        """Whether another loop of the same fleet has the lock, or had it a moment ago. Raises StateError."""
        lock = store.lock()
        return lock is None or OPTION in lock.lease.command.split()

    @asynccontextmanager
    async def alive(self) -> AsyncIterator[None]:
        """While it lasts the others hear of this loop, though it does not look."""
        task = asyncio.ensure_future(self._keep_alive())
        try:
            yield
        finally:
            task.cancel()

    async def _keep_alive(self) -> None:
        assert self._board is not None
        while True:
            await asyncio.sleep(self._interval / 2)
            with suppress(StateError):
                await asyncio.to_thread(self._board.alive, self._shard, self._owner)

    def _heard(self, rows: Sequence[ShardRow]) -> Sequence[ShardRow]:
        """The rows, without the time in which this loop was not heard of either: the database was away, and nobody is dead for that."""
        silent = next((row.heard for row in rows if row.owner == self._owner), 0.0)
        return [replace(row, heard=max(0.0, row.heard - silent)) for row in rows]

    def _await(self, rows: Sequence[ShardRow]) -> None:
        """Notes which of the others live, and when the next of them is late."""
        living = [row for row in rows if row.shard.of == self._shard.of and row.shard != self._shard and not is_late(row)]
        self._living = frozenset(row.shard.number for row in living)
        self._due = min((time.monotonic() + LATE * row.interval - row.heard + _A_MOMENT for row in living), default=None)

    def _twins(self, rows: Sequence[ShardRow]) -> Iterable[Condition]:
        for row in rows:
            if row.shard == self._shard and row.owner != self._owner and self._looks and not is_late(row):
                what = f"two loops are shard {self._shard}: this one, and {row.who}; give each a number of its own"
                yield Condition(Topic.ERROR, f"shard.{self._shard}", "twice", row.owner, what)

    def _lost(self, rows: Sequence[ShardRow], living: Set[int]) -> Iterable[Condition]:
        by_number = {row.shard.number: row for row in rows if row.shard.of == self._shard.of}
        takers = ", ".join(f"{number}/{self._shard.of}" for number in sorted(living))
        for number in range(1, self._shard.of + 1):
            row = by_number.get(number)
            if number in living or (row is None and not self._looks):  # they may all begin just now
                continue
            since = f"not heard of since {row.who} looked" if row is not None else "no loop is running for it"
            what = f"{since}; its nodes are looked at by {takers}"
            yield Condition(Topic.UNREACHABLE, f"shard.{number}/{self._shard.of}", "", takers, what)

    def _other_counts(self, rows: Sequence[ShardRow]) -> Iterable[Condition]:
        for row in rows:
            if row.shard.of != self._shard.of and not is_late(row):
                what = f"{row.who} divides the fleet by {row.shard.of}, this loop by {self._shard.of}: nodes are looked at twice"
                yield Condition(Topic.ERROR, f"shard.{row.shard}", "count", row.owner, what)


def _seen(rows: Sequence[ShardRow], names: Set[str]) -> FleetFacts | None:
    """What all loops saw of these nodes last. Raises StateError for what no loop wrote."""
    nodes: dict[str, NodeFacts] = {}
    at = ""
    for row in sorted(rows, key=lambda row: -row.looked):
        if row.body is None:
            continue
        facts = facts_of(row)
        at = max(at, facts.at)
        nodes.update({name: node for name, node in facts.nodes.items() if name in names})
    return FleetFacts(at, nodes) if nodes else None


def packed(facts: FleetFacts) -> bytes:
    """What a loop saw, as a row has it: documents of facts, a line each."""
    names = list(facts.nodes)
    parts = [names[at : at + _DOCUMENT] for at in range(0, len(names), _DOCUMENT)] or [[]]
    documents = (facts_to_json(FleetFacts(facts.at, {name: facts.nodes[name] for name in part})) for part in parts)
    return zlib.compress("".join(documents).encode(), 1)


def facts_of(row: ShardRow) -> FleetFacts:
    """The facts in a row. Raises StateError for what no loop wrote."""
    where = f"shard {row.shard}"
    nodes: dict[str, NodeFacts] = {}
    at = ""
    try:
        unzipped = zlib.decompressobj()
        text = unzipped.decompress(row.body or b"", _MOST_BYTES)
        if not unzipped.eof:
            raise StateError.of("what it saw is cut, or larger than any look is", where, "see that all loops are of this version")
        for document in text.removesuffix(b"\n").split(b"\n"):
            facts = facts_from_json(document, where)
            at = max(at, facts.at)
            nodes.update(facts.nodes)
    except (zlib.error, GpurecError) as error:
        if isinstance(error, StateError):
            raise
        raise StateError.of("what it saw cannot be read", where, "see that all loops are of this version") from error
    return FleetFacts(at, nodes)


def still_told(conditions: Mapping[tuple[Topic, str, str], Condition], part: FleetPart) -> dict[tuple[Topic, str, str], Condition]:
    """Those that are still this loop's to tell: what another one looks at now is not over, but that one's."""
    return {key: one for key, one in conditions.items() if part.tells(one)}
