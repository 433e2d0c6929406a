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
    """Why a step is done."""

    code: str  #: Stable; for programs.
    message: str  #: A sentence for people.


@value_class
class Precondition:
    """An inequality over one fact."""

    fact: str  #: `NODE/GPU.free_bytes` (with `at_least`), or `ADDRESS.resident` or `NODE/ENGINE.installed:NAME` (with `equals`).
    at_least: int | None = None  #: Least value of the fact, in bytes; null: `equals` says it.
    equals: bool | None = None  #: Value that the fact must have; null: `at_least` says it.


@value_class
class VariantRefusal:
    """A variant of a model that an engine does not get, and why not."""

    name: str  #: Name of the variant.
    reason: str  #: Code of the reason, as of a candidate.
    message: str = ""  #: The reason in words, with its figures.


@value_class(kw_only=True)
class Step:
    """One change of one resource; each kind of resource has its own form of it, with what only it needs."""

    id: str  #: Name of the step in this plan; `needs` and moves name it.
    address: str  #: What it changes: `KIND.NAME@NODE`, of a model `model.NAME@NODE/ENGINE`.
    action: Action  #: What is done.
    reason: Reason  #: Why it is done.
    cause: Cause  #: Whether the files, the fleet or room for another asked for it.
    node: str  #: Node where it is done; `local`: the machine that gpurec runs on.
    needs: tuple[str, ...] = ()  #: Ids of the steps that must be done before.
    made_for: str | None = None  #: Id of the step that it makes room for or brings something to; null: it is there for itself.
    seconds: float | None = None  #: How long it took the last times, in seconds; null: never measured.
    preconditions: tuple[Precondition, ...] = ()  #: What must hold right before it, else it is not done.
    before: Fields = field(default_factory=dict)  #: Fields as found.
    after: Fields = field(default_factory=dict)  #: Fields as they will be.

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
    """One card before, after, and at its fullest on the way, by the plan's arithmetic."""

    node: str  #: Node of the card.
    gpu: CardId  #: Index of the card on its node, or its UUID.
    total_bytes: int | None  #: Bytes that the card has; null: not known.
    usable_bytes: int | None  #: Bytes that replicas may hold of it: its size less reserve, by the limits; null: not known.
    foreign_bytes: int | None  #: Bytes that other programs hold on it; null: not known.
    assumed: bool  #: Its figures are declared or remembered, and not seen now.
    before_bytes: int  #: Bytes of replicas on it before the plan, without foreign ones.
    after_bytes: int  #: Bytes of replicas on it after the plan, without foreign ones.
    peak_bytes: int  #: Most bytes of replicas on it at any step, without foreign ones.
    name: str | None = None  #: What the card calls itself; null: not known.
    unsized: bool = False  #: It holds a resident of unknown size: all of it counts as taken, though nobody knows how much is.
    free_after_bytes: int | None = None  #: Bytes that may still be placed on it after the plan; null: not known.
    agents: int = 0  #: How many agents have their model, or their part, on it after the plan.


@value_class
class Drift:
    """A field that is not as it was last applied. Kinds, fields and their classes are those of the table in `drift_fields`."""

    address: str  #: What drifted.
    kind: str  #: Kind of drift, by the table of `drift_fields`.
    field: str  #: Name of the field.
    applied: Value  #: Value that was applied (or recorded, or allowed).
    found: Value  #: Value that was found.
    klass: str = "managed"  #: `managed` (a plan repairs it), `observed` (it is only told) or `volatile` (it comes and goes).


@value_class
class Candidate:
    engine: str  #: The engine, as `NODE/ENGINE`.
    reason: str  #: Code of the reason why not there.
    message: str = ""  #: The reason in words, with its figures.
    variants: tuple[VariantRefusal, ...] = ()  #: Variants of the model that it does not get, and why.


@value_class
class Unplaced:
    """Replicas of one model, or agents of one name, for which there is no place."""

    model: str  #: Name of the model; of agents the model that they use, or empty.
    count: int  #: How many replicas or agents have no place.
    needed_bytes: int | None  #: Bytes that one of them needs; null: not known.
    candidates: tuple[Candidate, ...]  #: Engines that were looked at, and why not there; only the first of many.
    candidate_counts: Mapping[str, int]  #: How many engines say no, by code of the reason; all of them.
    would_fit_if: tuple[str, ...] = ()  #: What would give it a place, in words.
    best_effort: bool = False  #: It may be without a place: that is no failure.
    agent: str | None = None  #: Name of the agents; null: they are replicas.
    reason: str = ""  #: The whole in a sentence without its subject.
    proved: bool = False  #: No placement has room for them; else none was found.

    @property
    def shown(self) -> str:
        """What has no place, for people: the model's name, or the agent's address without a node."""
        return self.model if self.agent is None else f"agent.{self.agent}"


@value_class
class Deferred:
    """A node or engine about which nothing is known now, so nothing is done."""

    node: str  #: Node that cannot be asked now.
    engine: str | None  #: Engine on it; null: the whole node.
    reason: str  #: Why nothing is known, in words.


@value_class
class UnmanagedResident:
    """A resident that nobody here asked for; shown, its bytes reserved."""

    node: str  #: Node where it is.
    engine: str  #: Engine that has it loaded.
    name: str  #: Its name there.
    vram_bytes: int | None  #: Bytes that it holds on cards; null: not known.
    pinned: bool | None  #: Whether it stays without requests; null: not known.


@value_class
class PlannedResident:
    """Under which name a replica runs, and the bytes that the plan counts for it on each card (0: on the CPU; None: nobody knows)."""

    name: str
    vram_bytes: int | None


@value_class
class Refusal:
    """A guard that does not let the plan be carried out."""

    guard: str  #: Name of the guard.
    address: str  #: First resource that it is about.
    message: str  #: A sentence that ends with what would allow it.


@value_class
class Note:
    """A warning of the plan: something asked for that cannot be observed or kept."""

    address: str  #: What it is about.
    code: str  #: Stable; for programs.
    message: str  #: A sentence for people.


_STANDING = ("context_tag", "context_request", "engine_fixed_options", "not_observable", "cache_unknown")
"""Codes of notes on what is asked for of a model, and not on what is found."""


@value_class
class UnplacedLevel:
    """What has no place of one priority."""

    priority: int  #: The priority.
    bytes: int  #: Bytes of it without a place.
    count: int  #: Replicas of it without a place.
    bound_bytes: int  #: Least bytes that the best placement leaves out of this priority and all higher ones together.


@value_class
class PlacementInfo:
    """How good the placement is, and what is known of how good it can be."""

    strategy: str  #: Which of several free places was taken.
    solver: Solver = Solver.BUILTIN  #: What searched.
    objective: int = 0  #: All bytes without a place.
    bound: int | None = 0  #: Least bytes that the best placement leaves out; null: a plan of the earlier format.
    gap: float | None = 0.0  #: Share of `objective` above `bound`, 0 to 1; null: a plan of the earlier format.
    proved: bool = False  #: No placement leaves out less at any priority, or disturbs less; of the strategy nothing is proved.
    unplaced: tuple[UnplacedLevel, ...] = ()  #: The same by priority, the highest first.
    moved_bytes: int = 0  #: Bytes of replicas that leave their engine though they are wanted.
    moved: int = 0  #: How many replicas leave their engine though they are wanted.
    moved_bound_bytes: int = 0  #: Least bytes that must move where all has a place.
    #: Why the exact solver ended: `proved`, `work` or `time` used up, `refused` by the board; null: it was not needed.
    ended: str | None = None


@value_class
class Move:
    """A replica or resident that leaves where it is."""

    model: str  #: Name of the model.
    address: str  #: Address that it leaves.
    to: str | None  #: Address that it goes to; null: none until there is room for it again.
    by: str | None  #: Model that it leaves for; null: its own files want it elsewhere.
    step: str  #: Id of the step by which it leaves.


@value_class
class Impact:
    """What carrying out the plan costs."""

    #: Seconds that each model is away; null: a load of it was never measured, or it is away for good.
    downtime_seconds: Mapping[str, float | None] = field(default_factory=dict)
    download_bytes: int | None = 0  #: Bytes to download; null: not known.
    evictions: tuple[str, ...] = ()  #: Addresses of all that leaves for another model.
    moves: tuple[Move, ...] = ()  #: All that leaves one place for another, or for another model.


@value_class
class ModelHours:
    """Whether a model with hours is wanted at the moment of the facts."""

    model: str  #: Name of the model.
    wanted: bool  #: Whether it is wanted at the moment of the facts.
    until: str | None  #: Until when that stays so, ISO 8601 in UTC; null: for ever.


@value_class
class Plan:
    """The whole answer. `unchanged` are resources that stay as they are, with `unchanged_others`; that and the docstrings below tell of
    what is no key of the document."""

    fleet: str  #: Name of the fleet.
    lineage: str | None  #: Identity of the state that it was made of; null: there was none.
    serial: int  #: Number of the state that it was made of.
    config_digest: str  #: `sha256:…` of the files that it was made of.
    created_at: str  #: When it was made, ISO 8601 in UTC.
    digest: str  #: `sha256:…` of what it will do: the same digest is the same plan; `apply --expect-digest` takes it.
    steps: tuple[Step, ...]  #: What is done, in an order that respects `needs`.
    unchanged: int
    pending: int
    gpus: tuple[CardBalance, ...] = ()  #: Every card before and after, in node order.
    drift: tuple[Drift, ...] = ()  #: What is not as it was applied.
    unplaced: tuple[Unplaced, ...] = ()  #: What has no place, and what would help.
    deferred: tuple[Deferred, ...] = ()  #: Nodes and engines about which nothing is known now.
    unmanaged: tuple[UnmanagedResident, ...] = ()  #: Residents that nobody here asked for.
    notes: tuple[Note, ...] = ()  #: Warnings: what is asked for and cannot be observed or kept.
    refusals: tuple[Refusal, ...] = ()  #: Guards that do not let it be carried out.
    impact: Impact = Impact()  #: What it costs while it is carried out.
    unchanged_others: int = 0  #: Resources beside replicas that stay as they are.
    placement: PlacementInfo = PlacementInfo("least_loaded")  #: How good the placement is.
    #: Address of every wanted replica that has a place, to its engine name; what `apply` records as owned at the end.
    placed: Mapping[str, str] = field(default_factory=dict)
    charges: Mapping[str, CardCharges] = field(default_factory=dict)
    """What a replica in `placed` is charged with, where a step settles that or the state does not know it; `apply` keeps it. No part of the
    document."""
    residents: Mapping[str, PlannedResident] = field(default_factory=dict)
    """What is resident, by the address of its replica (else by its own name): what every view says of its size. No part of the document."""
    containers: tuple[tuple[str, ContainerSpec], ...] = ()
    """Those that will run for engines and agents, each with its node. No part of the document."""
    wanted: Mapping[str, Fields] = field(default_factory=dict)
    """What the files ask for of every resource beside models, by address. No part of the document."""
    forgotten: tuple[str, ...] = ()  #: Addresses of the state that are neither wanted nor there; `apply` drops them without a step.
    incidents: tuple[Incident, ...] = ()
    """What befell replicas and is not kept in the state yet; `apply` keeps it. No part of the document."""
    limit: str | None = None  #: Pattern of `--limit` that it was made with; null: none.
    exclude: str | None = None  #: Pattern of `--exclude` that it was made with; null: none.
    rollback: int | None = None  #: Serial that it goes back to; null: it is a plan of the files.
    supposing: str | None = None  #: What is supposed of the fleet and is not so, whence no apply takes the plan; null: nothing.
    hours: tuple[ModelHours, ...] = ()  #: The models that have hours, in name order.
    replace: tuple[str, ...] = ()  #: Addresses of `--replace` that it was made with.
    format_version: str = FORMAT_VERSION  #: Version of this document; an apply carries out only this one.

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
