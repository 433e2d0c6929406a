"""The plan as a value: what the views show, what the executor does, what a file holds. Nothing here decides anything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from reconciler.fleet.applied import CardCharges, Incident
from reconciler.fleet.inventory import Scalar
from reconciler.fleet.names import CardId

FORMAT_VERSION = "1.0"
Value = Scalar | None
Fields = Mapping[str, Value]


class Action(StrEnum):
    PULL = "pull"
    LOAD = "load"
    UNLOAD = "unload"
    RELOAD = "reload"
    UPDATE = "update"
    WAIT = "wait"
    ADOPT = "adopt"
    CREATE = "create"
    REMOVE = "remove"


class Cause(StrEnum):
    PENDING = "pending"
    DRIFT = "drift"
    BOTH = "both"
    DISPLACED = "displaced"
    ADOPT = "adopt"


@dataclass(frozen=True, slots=True)
class Reason:
    """`code` is stable and for programs, `message` is for people."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Precondition:
    """An inequality over one fact. `fact` is `NODE/GPU.free_bytes` (with `at_least`), or `ADDRESS.resident` / `NODE/ENGINE.installed:NAME`
    (with `equals`)."""

    fact: str
    at_least: int | None = None
    equals: bool | None = None


@dataclass(frozen=True, slots=True)
class VariantRefusal:
    """A variant of a model that an engine does not get, and why not."""

    name: str
    reason: str
    message: str = ""


@dataclass(frozen=True, slots=True)
class VariantChoice:
    """Which variant of its model a step is about, and why it is none of the better ones."""

    name: str
    passed_over: tuple[VariantRefusal, ...] = ()


@dataclass(frozen=True, slots=True)
class Step:
    """One change. `needs` are ids of steps that must be done before. `engine_name` is the name to use on the engine; `base_name` is what a
    pull fetches when `engine_name` is a derived tag (made from `base_name` with `after["context"]`). Of a measured need `measured_bytes` is
    all that such a load took, `reported_bytes` the part of it that the engine told of (None where the card itself was seen), and
    `predicted_bytes` what would be predicted in its place."""

    id: str
    address: str
    action: Action
    reason: Reason
    cause: Cause
    model: str
    node: str
    engine: str
    engine_name: str
    base_name: str
    needs: tuple[str, ...] = ()
    gpus: tuple[CardId, ...] = ()
    gpu_candidates: tuple[CardId, ...] | None = None
    vram_bytes: int | None = None
    vram_source: str | None = None
    measured_bytes: int | None = None
    reported_bytes: int | None = None
    predicted_bytes: int | None = None
    seconds: float | None = None
    preconditions: tuple[Precondition, ...] = ()
    before: Fields = field(default_factory=dict)
    after: Fields = field(default_factory=dict)
    variant: VariantChoice | None = None


@dataclass(frozen=True, slots=True)
class CardBalance:
    """One card before, after, and at its fullest on the way, by the plan's arithmetic. `before`, `after` and `peak` leave foreign out.
    `unsized`: it holds a resident of unknown size, so all of it counts as taken though nobody knows how much is."""

    node: str
    gpu: CardId
    total_bytes: int | None
    usable_bytes: int | None
    foreign_bytes: int | None
    assumed: bool
    before_bytes: int
    after_bytes: int
    peak_bytes: int
    name: str | None = None
    unsized: bool = False


@dataclass(frozen=True, slots=True)
class Drift:
    """A field that is not as it was last applied (or recorded, or allowed). Kinds, fields and their classes (`klass`: managed, observed or
    volatile) are those of the table in `drift_fields`."""

    address: str
    kind: str
    field: str
    applied: Value
    found: Value
    klass: str = "managed"


@dataclass(frozen=True, slots=True)
class Candidate:
    engine: str
    reason: str
    message: str = ""
    variants: tuple[VariantRefusal, ...] = ()


@dataclass(frozen=True, slots=True)
class Unplaced:
    """`count` replicas of one model for which there is no place. `candidates` is bounded, `candidate_counts` has all of them by reason."""

    model: str
    count: int
    needed_bytes: int | None
    candidates: tuple[Candidate, ...]
    candidate_counts: Mapping[str, int]
    would_fit_if: tuple[str, ...] = ()
    best_effort: bool = False


@dataclass(frozen=True, slots=True)
class Deferred:
    """A node or engine about which nothing is known now, so nothing is done."""

    node: str
    engine: str | None
    reason: str


@dataclass(frozen=True, slots=True)
class UnmanagedResident:
    """A resident that nobody here asked for; shown, its bytes reserved."""

    node: str
    engine: str
    name: str
    vram_bytes: int | None
    pinned: bool | None


@dataclass(frozen=True, slots=True)
class Refusal:
    """A guard that does not let the plan be carried out. `address` is the first resource that it is about, `message` a sentence that ends
    with what would allow it."""

    guard: str
    address: str
    message: str


@dataclass(frozen=True, slots=True)
class Note:
    """A warning of the plan: something asked for that cannot be observed or kept. `address` says of what."""

    address: str
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class PlacementInfo:
    strategy: str
    solver: str = "builtin"
    objective: int = 0
    bound: int | None = None
    gap: float | None = None
    proved: bool = False


@dataclass(frozen=True, slots=True)
class Impact:
    """`downtime_seconds` by model, None where a load of it was never measured; `download_bytes` None: nobody knows how many."""

    downtime_seconds: Mapping[str, float | None] = field(default_factory=dict)
    download_bytes: int | None = 0
    evictions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """The whole answer. `steps` is in an order that respects `needs`. `gpus` holds every card in node order."""

    fleet: str
    lineage: str | None
    serial: int
    config_digest: str
    created_at: str
    digest: str
    steps: tuple[Step, ...]
    unchanged: int
    pending: int
    gpus: tuple[CardBalance, ...] = ()
    drift: tuple[Drift, ...] = ()
    unplaced: tuple[Unplaced, ...] = ()
    deferred: tuple[Deferred, ...] = ()
    unmanaged: tuple[UnmanagedResident, ...] = ()
    notes: tuple[Note, ...] = ()
    refusals: tuple[Refusal, ...] = ()
    impact: Impact = Impact()
    placement: PlacementInfo = PlacementInfo("least_loaded")
    placed: Mapping[str, str] = field(default_factory=dict)
    """Address of every wanted replica that has a place, to its engine name; what `apply` records as owned at the end."""
    charges: Mapping[str, CardCharges] = field(default_factory=dict)
    """What a replica in `placed` is charged with, where a step settles that or the state does not know it; `apply` keeps it. No part of the
    document."""
    forgotten: tuple[str, ...] = ()
    """Addresses of the state that are neither wanted nor there any more; `apply` drops them without a step."""
    incidents: tuple[Incident, ...] = ()
    """What befell replicas and is not kept in the state yet; `apply` keeps it. No part of the document."""
    limit: str | None = None
    exclude: str | None = None
    """The patterns of `--limit` and `--exclude` that it was made with, so that a saved plan can be made again."""
    rollback: int | None = None
    """The serial that it goes back to; None for a plan of the files."""

    replace: tuple[str, ...] = ()
    """The addresses of `--replace` that it was made with."""

    @property
    def held(self) -> tuple[Note, ...]:
        """What is not as wanted and is left alone for now, with the reason."""
        return tuple(note for note in self.notes if note.code == "held")

    def count(self, action: Action) -> int:
        return sum(1 for step in self.steps if step.action is action)

    @property
    def empty(self) -> bool:
        return not self.steps
