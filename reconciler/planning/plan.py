"""The plan as a value: what the views show, what the executor does, what a file holds. Nothing here decides anything."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence, Set
from dataclasses import field
from enum import StrEnum

from reconciler.fleet.applied import CardCharges, Incident
from reconciler.fleet.containers import ContainerSpec
from reconciler.fleet.desired import Solver
from reconciler.fleet.names import CardId
from reconciler.fleet.resources import ResourceFacts
from reconciler.fleet.secret_refs import Scalar
from reconciler.value_class import value_class

FORMAT_VERSION = "1.1"
SHOWN_VERSIONS = ("1.0", FORMAT_VERSION)
"""Formats of saved plans that are still read; only those of FORMAT_VERSION are carried out."""
Value = Scalar | None
Fields = Mapping[str, Value]
Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]


class Action(StrEnum):
    PULL = "pull"
    TAG = "tag"
    LOAD = "load"
    UNLOAD = "unload"
    RELOAD = "reload"
    UPDATE = "update"
    WAIT = "wait"
    ADOPT = "adopt"
    CREATE = "create"
    REMOVE = "remove"


FETCHES = frozenset({Action.PULL, Action.TAG})
"""What brings a model to its engine's disk, before anything is loaded."""


WAITS_FOR_UNREACHABLE = "waits_for_unreachable"
"""The code of a note on a model that may have a place as soon as an engine can be asked again."""


class Cause(StrEnum):
    PENDING = "pending"
    DRIFT = "drift"
    BOTH = "both"
    DISPLACED = "displaced"
    ADOPT = "adopt"


@value_class
class Reason:
    """`code` is stable and for programs, `message` is for people."""

    code: str
    message: str


@value_class
class Precondition:
    """An inequality over one fact. `fact` is `NODE/GPU.free_bytes` (with `at_least`), or `ADDRESS.resident` / `NODE/ENGINE.installed:NAME`
    (with `equals`)."""

    fact: str
    at_least: int | None = None
    equals: bool | None = None


@value_class
class VariantRefusal:
    """A variant of a model that an engine does not get, and why not."""

    name: str
    reason: str
    message: str = ""


@value_class(kw_only=True)
class Step:
    """One change of one resource; each kind of resource has its own form of it, with what only it needs.

    `address` begins with the kind's name. `needs` are ids of steps that must be done before; `made_for` is the one that this step makes
    room for or brings something to (None: it is there for itself). `before` are fields as found, `after` as they will be. `node` is `local`
    for the machine that gpurec runs on.
    """

    id: str
    address: str
    action: Action
    reason: Reason
    cause: Cause
    node: str
    needs: tuple[str, ...] = ()
    made_for: str | None = None
    seconds: float | None = None
    preconditions: tuple[Precondition, ...] = ()
    before: Fields = field(default_factory=dict)
    after: Fields = field(default_factory=dict)

    @property
    def kind(self) -> str:
        return kind_of(self.address)

    @property
    def name_there(self) -> str:
        """What it is called where it is, if otherwise than by its address."""
        return ""

    @property
    def places(self) -> tuple[Hashable, ...]:
        """Where it is done, the smallest place first: a place where steps keep failing is left alone for a while."""
        return (self.node,)

    @property
    def lane(self) -> Hashable | None:
        """Of the steps of one lane only one runs at a time; None: it minds nobody."""
        return None

    def seen(self, found: ResourceFacts) -> ResourceFacts:
        """What was found of its resource, in the words of what it leaves."""
        return found

    @property
    def makes_due(self) -> tuple[str, ...]:
        """The addresses of what has to be done after it, which the state knows to be due from the moment it is begun."""
        return ()

    @property
    def only_while_due(self) -> bool:
        """Whether there is nothing to do where the state does not say that it is due."""
        return False

    @property
    def contradiction(self) -> str | None:
        """What does not fit together in it, as a clause; None for every step that a plan makes. For steps that were read from a file."""
        return None

    def particulars(self) -> Mapping[str, Json]:
        """What only its kind has of it, as the plan document says it."""
        return {}

    def promise(self) -> Mapping[str, Json]:
        """What of its particulars the digest of the plan covers: what is done, without what was only seen or estimated."""
        return self.particulars()

    def started_from(self) -> Fields:
        """What it changes from, as far as two looks at the same thing say the same."""
        return self.before

    def compared(self) -> Mapping[str, Json]:
        """What of its particulars is shown where it differs from the same step of another plan."""
        return self.promise()

    @property
    def unshown(self) -> Set[str]:
        """Fields whose values say nothing to people: what changes of them is among its `lines`."""
        return frozenset()

    def lines(self) -> Sequence[str]:
        """What a reader of the plan sees below it beside the fields that change, such as a diff; not escaped."""
        return ()


def kind_of(address: str) -> str:
    """The kind of resource that an address is of: `model` of `model.NAME@NODE/ENGINE`."""
    return address.partition(".")[0]


@value_class
class CardBalance:
    """One card before, after, and at its fullest on the way, by the plan's arithmetic. `before`, `after` and `peak` leave foreign out.
    `free_after_bytes` is what may still be placed on it then, None where that is not known. `agents` have their model or their part there
    after the plan. `unsized`: it holds a resident of unknown size,
    so all of it counts as taken though nobody knows how much is."""

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
    free_after_bytes: int | None = None
    agents: int = 0


@value_class
class Drift:
    """A field that is not as it was last applied (or recorded, or allowed). Kinds, fields and their classes (`klass`: managed, observed or
    volatile) are those of the table in `drift_fields`."""

    address: str
    kind: str
    field: str
    applied: Value
    found: Value
    klass: str = "managed"


@value_class
class Candidate:
    engine: str
    reason: str
    message: str = ""
    variants: tuple[VariantRefusal, ...] = ()


@value_class
class Unplaced:
    """`count` replicas of one model for which there is no place, or agents of the name `agent` (`model` is then the one that they use, or
    ""). `candidates` is bounded, `candidate_counts` has all of them by reason; `reason` is the whole in a sentence without its subject.
    `proved`: no placement has room for them; else none was found."""

    model: str
    count: int
    needed_bytes: int | None
    candidates: tuple[Candidate, ...]
    candidate_counts: Mapping[str, int]
    would_fit_if: tuple[str, ...] = ()
    best_effort: bool = False
    agent: str | None = None
    reason: str = ""
    proved: bool = False

    @property
    def shown(self) -> str:
        """What has no place, for people: the model's name, or the agent's address without a node."""
        return self.model if self.agent is None else f"agent.{self.agent}"


@value_class
class Deferred:
    """A node or engine about which nothing is known now, so nothing is done."""

    node: str
    engine: str | None
    reason: str


@value_class
class UnmanagedResident:
    """A resident that nobody here asked for; shown, its bytes reserved."""

    node: str
    engine: str
    name: str
    vram_bytes: int | None
    pinned: bool | None


@value_class
class PlannedResident:
    """Under which name a replica runs, and the bytes that the plan counts for it on each card (0: on the CPU; None: nobody knows)."""

    name: str
    vram_bytes: int | None


@value_class
class Refusal:
    """A guard that does not let the plan be carried out. `address` is the first resource that it is about, `message` a sentence that ends
    with what would allow it."""

    guard: str
    address: str
    message: str


@value_class
class Note:
    """A warning of the plan: something asked for that cannot be observed or kept. `address` says of what."""

    address: str
    code: str
    message: str


_STANDING = ("context_tag", "context_request", "engine_fixed_options", "not_observable", "cache_unknown")
"""Codes of notes on what is asked for of a model, and not on what is found."""


@value_class
class UnplacedLevel:
    """What has no place of one priority: bytes and how many replicas. `bound_bytes` is the least that the best placement leaves out of this
    priority and all higher ones together."""

    priority: int
    bytes: int
    count: int
    bound_bytes: int


@value_class
class PlacementInfo:
    """How good the placement is. `objective` are all bytes without a place, `bound` the least that the best one leaves out, `gap` what
    share of the objective is above that (0..1); `unplaced` has both by priority, the highest first. `moved_bytes` and `moved` are replicas
    that leave their engine though they are wanted, `moved_bound_bytes` the least that must where all has a place. `proved`: no placement
    leaves out less at any priority, or disturbs less; nothing is proved of the strategy. None: a plan of the earlier format.
    `ended` says why the exact solver did: `proved`, `work` or `time` used up, `refused` by the board; None: it was not needed."""

    strategy: str
    solver: Solver = Solver.BUILTIN
    objective: int = 0
    bound: int | None = 0
    gap: float | None = 0.0
    proved: bool = False
    unplaced: tuple[UnplacedLevel, ...] = ()
    moved_bytes: int = 0
    moved: int = 0
    moved_bound_bytes: int = 0
    ended: str | None = None


@value_class
class Move:
    """A replica or resident that leaves `address` with the step `step`: for the model `by` (None: its own files want it elsewhere), to the
    address `to` (None: for good, until there is room for it again)."""

    model: str
    address: str
    to: str | None
    by: str | None
    step: str


@value_class
class Impact:
    """`downtime_seconds` by model: None where a load of it was never measured, or where it is away for good. `download_bytes` None: nobody
    knows how many. `evictions` are the addresses of all that leaves for another model, `moves` all that leaves one place for another, or
    for another model."""

    downtime_seconds: Mapping[str, float | None] = field(default_factory=dict)
    download_bytes: int | None = 0
    evictions: tuple[str, ...] = ()
    moves: tuple[Move, ...] = ()


@value_class
class ModelHours:
    """Whether a model with hours is wanted at the moment of the facts, and until when that stays so (ISO 8601 in UTC; None: for ever)."""

    model: str
    wanted: bool
    until: str | None


@value_class
class Plan:
    """The whole answer. `steps` is in an order that respects `needs`. `gpus` holds every card in node order.
    `unchanged` are resources that stay as they are, of which `unchanged_others` are no replicas."""

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
    unchanged_others: int = 0
    placement: PlacementInfo = PlacementInfo("least_loaded")
    placed: Mapping[str, str] = field(default_factory=dict)
    """Address of every wanted replica that has a place, to its engine name; what `apply` records as owned at the end."""
    charges: Mapping[str, CardCharges] = field(default_factory=dict)
    """What a replica in `placed` is charged with, where a step settles that or the state does not know it; `apply` keeps it. No part of the
    document."""
    residents: Mapping[str, PlannedResident] = field(default_factory=dict)
    """What is resident, by the address of its replica (else by its own name): what every view says of its size. No part of the document."""
    containers: tuple[tuple[str, ContainerSpec], ...] = ()
    """Those that will run for engines and agents, each with its node. No part of the document."""
    wanted: Mapping[str, Fields] = field(default_factory=dict)
    """What the files ask for of every resource beside models, by address. No part of the document."""
    forgotten: tuple[str, ...] = ()
    """Addresses of the state that are neither wanted nor there any more; `apply` drops them without a step."""
    incidents: tuple[Incident, ...] = ()
    """What befell replicas and is not kept in the state yet; `apply` keeps it. No part of the document."""
    limit: str | None = None
    exclude: str | None = None
    """The patterns of `--limit` and `--exclude` that it was made with, so that a saved plan can be made again."""
    rollback: int | None = None
    """The serial that it goes back to; None for a plan of the files."""

    hours: tuple[ModelHours, ...] = ()
    """The models that have hours, in name order."""
    replace: tuple[str, ...] = ()
    """The addresses of `--replace` that it was made with."""
    format_version: str = FORMAT_VERSION

    @property
    def held(self) -> tuple[Note, ...]:
        """What is not as wanted and is left alone for now, with the reason."""
        return tuple(note for note in self.notes if note.code == "held")

    @property
    def warnings(self) -> tuple[Note, ...]:
        """The notes that people are told: what holds of a model for as long as it is asked for so is told with its steps, and not again by
        every plan that leaves it alone. `explain` and the document have all."""
        touched = {step.address for step in self.steps}
        touched |= {address.rpartition("@")[0] for address in touched}
        return tuple(note for note in self.notes if note.code not in _STANDING or note.address in touched)

    def count(self, action: Action) -> int:
        return sum(1 for step in self.steps if step.action is action)

    @property
    def empty(self) -> bool:
        return not self.steps
