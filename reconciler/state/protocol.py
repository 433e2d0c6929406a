"""What the rest of the program asks of a store. One writer under a lease; readers never write."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import field
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

from reconciler.fleet import (
    AllocatedAgent,
    Applied,
    AppliedReplica,
    AppliedResource,
    CardId,
    EngineId,
    FleetFacts,
    Frame,
    Heat,
    LoadKey,
    Measured,
    MeasuredKey,
    ReplicaChange,
    Ticket,
    Tickets,
)
from reconciler.state.lease import Lease
from reconciler.state.renames import Rename
from reconciler.value_class import value_class

if TYPE_CHECKING:
    from reconciler.state.node_rename import NodeMove


class StepStatus(StrEnum):
    STARTED = "started"
    DONE = "done"
    SATISFIED = "satisfied"
    FAILED = "failed"
    SKIPPED = "skipped"
    INTERRUPTED = "interrupted"


@value_class
class JournalRow:
    """What happened to one step of one run. Times are ISO 8601 UTC; `seconds` from its start to its end, None while it is open."""

    run_id: int
    step_id: str
    address: str
    action: str
    status: StepStatus
    reason: str | None
    started_at: str
    finished_at: str | None
    seconds: float | None = None


@value_class
class RunRecord:
    """One apply: who, where, when, which plan, and how it ended (`result` is `running`, `done`, `partial`, `failed`, `interrupted`).

    `seconds` from start to end, None where that is not known. `ci` is the page of the CI job. `unplaced` replicas had no place, `deferred`
    nodes or engines were not reached. `steps` counts the run's steps by status.
    """

    id: int
    serial: int
    plan_digest: str
    config_digest: str
    who: str
    host: str
    command: str
    started_at: str
    finished_at: str | None
    result: str
    ci: str | None = None
    seconds: float | None = None
    unplaced: int = 0
    deferred: int = 0
    steps: Mapping[str, int] = field(default_factory=dict)


@value_class
class Measurement:
    """How long a load took."""

    key: LoadKey
    load_seconds: float


@value_class
class Learned:
    """What a load took."""

    key: MeasuredKey
    value: Measured


@value_class
class SettledStep:
    """A step that came to its end without anything being sent: adopted, satisfied, skipped or interrupted before it began."""

    step_id: str
    address: str
    action: str
    status: StepStatus
    reason: str | None = None


class StateReader(Protocol):
    """Read-only access; a store that does not exist yet reads as empty."""

    def applied(self) -> Applied: ...
    def applied_at(self, serial: int) -> Mapping[str, AppliedReplica]:
        """What was owned at an earlier serial, as it was asked and with the context that it ran with.

        Raises StateError where that is not kept.
        """
        ...

    def changed_since(self, serial: int, addresses: Iterable[str]) -> Sequence[ReplicaChange]:
        """Each time since `serial` that what is asked of one of `addresses` changed, with the run that did it; what was only observed anew
        is none."""
        ...

    def recorded_facts(self) -> FleetFacts | None: ...
    def runs(self, last: int = 20, *, of_plans: bool = False) -> Sequence[RunRecord]:
        """The latest runs, newest first; with `of_plans` those alone that carried out a plan, and no agent allocated over HTTP."""
        ...

    def run(self, run_id: int) -> RunRecord | None: ...
    def journal(self, run_id: int) -> Sequence[JournalRow]: ...
    def tags(self) -> Mapping[EngineId, Mapping[str, str]]:
        """The derived tags that gpurec made or used on each engine, each with the name that it was made from."""
        ...

    def failed_loads(self) -> Mapping[str, JournalRow]:
        """By address its last load or reload, where that failed and none has succeeded since; of the latest hundred runs."""
        ...

    def renames(self) -> Sequence[Rename]:
        """Nodes that were renamed, oldest first; the journals of runs before that call them as they were called then."""
        ...

    def frames(self, spans: Collection[int], since: int = 0) -> Iterator[Frame]:
        """History of facts, the oldest first: frames of these spans that end at `since` (seconds since 1970) or later."""
        ...

    def allocated(self) -> Sequence[AllocatedAgent]:
        """Agents that are wanted beside those of the files, by name."""
        ...

    def tickets(self, waiting: Sequence[Ticket] = ()) -> Tickets:
        """How many tickets ever came, and their sums, with those of `waiting` that it has not taken in yet."""
        ...

    def lease(self) -> Lease | None: ...
    def close(self) -> None: ...


class StateWriter(StateReader, Protocol):
    """Write access for one run, under a lease: every write carries the fencing token and fails with StateError once the lease is lost.

    `took_over` says, as one sentence, whose lease was taken over (who, where, when, what); None when it was free.
    """

    @property
    def took_over(self) -> str | None: ...

    @property
    def warnings(self) -> tuple[str, ...]:
        """What whoever runs this should know of the store: where it lies, and what waits to be read in."""
        ...

    @property
    def notices(self) -> tuple[str, ...]:
        """What is new about the store with this run: that it was set up, or which fleet it is of from now on."""
        ...

    def prove_held(self) -> None:
        """Asked right before anything is sent. Raises StateError where this run no longer holds the state: its lock was taken over, or its
        file was replaced or removed."""
        ...

    def begin_run(self, plan_digest: str, config_digest: str, command: str, inventory: str | None = None) -> int:
        """`inventory` is the one that the fleet is applied with, where it is not that of its name."""
        ...

    def step_started(self, run_id: int, step_id: str, address: str, action: str) -> None: ...
    def step_finished(self, run_id: int, step_id: str, status: StepStatus, reason: str | None = None) -> None: ...
    def steps_settled(self, run_id: int, steps: Iterable[SettledStep]) -> None:
        """Journals, in one transaction, steps that sent nothing."""
        ...

    def record(self, replicas: Iterable[AppliedReplica], gone: Iterable[str] = ()) -> None:
        """Upserts what is owned and forgets the addresses `gone`; unchanged rows are not written."""
        ...

    def record_resources(self, resources: Iterable[AppliedResource], gone: Iterable[str] = ()) -> None:
        """The same for resources of other kinds than models."""
        ...

    def forget(self, addresses: Iterable[str]) -> None:
        """Gives addresses up, with what befell them."""
        ...

    def own_tag(self, at: EngineId, name: str, base: str) -> None:
        """Keeps that a derived tag is ours, before it is made."""
        ...

    def forget_tags(self, at: EngineId, names: Iterable[str]) -> None:
        """Tags that were deleted; others are passed over."""
        ...

    def rename_fleet(self, old: str, new: str) -> None:
        """Gives the fleet another name. Raises StateError where the state is of another fleet than `old`."""
        ...

    def rename_node(self, move: NodeMove) -> None:
        """Gives all that is held of one node to its new name, in one transaction."""
        ...

    def measure(self, measurements: Iterable[Measurement]) -> None: ...
    def record_heat(self, levels: Mapping[tuple[str, CardId], Heat]) -> None:
        """Keeps how hot cards are, by node and index; what is not named, or as it was, is not written."""
        ...

    def record_incident(self, address: str, code: str, asked: str, *, at: str | None = None, evictor: str | None = None) -> None:
        """Keeps an incident of `at` (None: now). `asked` is the digest of what is asked of its model."""
        ...

    def learn(self, needs: Iterable[Learned]) -> None: ...
    def record_facts(self, facts: FleetFacts) -> None: ...
    def finish_run(self, run_id: int, result: str, *, unplaced: int = 0, deferred: int = 0) -> int:
        """Ends the run and returns the serial, which moved on when anything was recorded.

        `unplaced` replicas of it (not best-effort) had no place, `deferred` nodes or engines were not reached: a `done` that left replicas
        without a place is kept as `partial`.
        """
        ...

    @property
    def takes_no_more(self) -> bool:
        """Whether it could not be written any more in this run, so that nothing new is to be begun."""
        ...
