"""What users want: models with their replicas, and the policies around them. Validated values; patterns are already resolved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, replace
from datetime import datetime
from enum import StrEnum
from fractions import Fraction
from types import MappingProxyType

from reconciler.fleet.health import USUAL_HEALTH, Breaker, Health
from reconciler.fleet.hours import Hours
from reconciler.fleet.inventory import NO_LIMITS, Limits
from reconciler.fleet.levels import MemoryPressure, Thermal
from reconciler.fleet.names import EngineKind, canonical_name, context_tag, spelled_name
from reconciler.fleet.notify import Notify
from reconciler.fleet.remediation import USUAL_REMEDIATION, Remediation
from reconciler.fleet.run_options import AS_ENGINE_RUNS, RunOptions
from reconciler.fleet.secret_refs import Scalar
from reconciler.fleet.service import NOBODY, ServicePolicy
from reconciler.value_class import value_class

_NOTHING: Mapping[str, Scalar] = MappingProxyType({})
_NO_NAMES: Mapping[EngineKind, str] = MappingProxyType({})
FOREVER = -1.0


class Ensure(StrEnum):
    LOADED = "loaded"
    PRESENT = "present"
    ABSENT = "absent"


class Each(StrEnum):
    """What one replica is wanted for."""

    NODE = "node"
    GPU = "gpu"
    ENGINE = "engine"


class Spread(StrEnum):
    NODE = "node"
    GPU = "gpu"
    NONE = "none"


class ContextVia(StrEnum):
    """Where an Ollama context is kept: a derived tag, the server's own default, or each of our requests."""

    TAG = "tag"
    ENGINE = "engine"
    REQUEST = "request"


class Order(StrEnum):
    """Of a replica that goes elsewhere: whether the new one is there before the old one leaves."""

    START_FIRST = "start-first"
    STOP_FIRST = "stop-first"


@value_class
class Rollout:
    """How the changes of a model's replicas follow each other: at most `max_unavailable` of them are away at once, and with `canary` one is
    there, and was verified, before any other is begun. `order` None: the new one first where both have room."""

    max_unavailable: int = 1
    order: Order | None = None
    canary: bool = False


ONE_BY_ONE = Rollout()


class Residency(StrEnum):
    GPU = "gpu"
    GPU_PREFERRED = "gpu_preferred"
    CPU = "cpu"


class Unmanaged(StrEnum):
    """What happens to a resident that nobody here asked for."""

    LEAVE = "leave"
    YIELD = "yield"
    DRIFT = "drift"
    UNLOAD = "unload"


class Strategy(StrEnum):
    LEAST_LOADED = "least_loaded"
    BINPACK = "binpack"
    ROUND_ROBIN = "round_robin"
    TEMPERATURE = "temperature"
    WEIGHTED = "weighted"


class Solver(StrEnum):
    """Who looks for a placement: the search that is built in, or HiGHS beside it, which is an extra."""

    BUILTIN = "builtin"
    EXACT = "exact"


@value_class
class VersionBound:
    """A comparison such as `>=525`; `operator` is one of `>=`, `>`, `<=`, `<`, `==`."""

    operator: str
    version: tuple[int, ...]

    def holds(self, version: tuple[int, ...]) -> bool:
        match self.operator:
            case ">=":
                return version >= self.version
            case ">":
                return version > self.version
            case "<=":
                return version <= self.version
            case "<":
                return version < self.version
            case _:
                return version == self.version

    def __str__(self) -> str:
        return self.operator + ".".join(str(part) for part in self.version)


@value_class
class Requirements:
    """What a card or its node must have. Empty means anything goes."""

    compute_capability: VersionBound | None = None
    driver: VersionBound | None = None
    vram: int | None = None
    dtype: str | None = None
    labels: tuple[tuple[str, str], ...] = ()


@value_class
class Verify:
    """What a model must show right after its load: the length of its vectors, or how fast it writes. None: not asked."""

    embedding_length: int | None = None
    min_tokens_per_second: float | None = None

    @property
    def asks(self) -> bool:
        return self.embedding_length is not None or self.min_tokens_per_second is not None


@value_class
class Variant:
    """One form in which a model may be served, such as a quantisation: its name on the engines, and its need where that is declared."""

    name: str
    vram: int | None = None


@value_class
class Weights:
    """How much each thing counts in the strategy `weighted`, against the others: how full an engine's fullest card is, how warm, how busy
    and how slow its cards are, and what its node costs."""

    load: float = 1.0
    temperature: float = 0.0
    utilisation: float = 0.0
    speed: float = 0.0
    cost: float = 0.0


ONLY_LOAD = Weights()


@value_class
class Prefer:
    """Where a model goes first if there is a choice: the nodes that each pattern names, in this order; or the faster cards."""

    nodes: tuple[frozenset[str], ...] = ()
    speed: bool = False

    def rank(self, node: str) -> int:
        """The place of a node in that order, 0 first; nodes of no pattern come last."""
        return next((number for number, some in enumerate(self.nodes) if node in some), len(self.nodes))


NO_PREFERENCE = Prefer()


@value_class
class When:
    """When a model is wanted at all. `free_vram`: it is loaded only where each card that could take it has at least so many bytes free
    before that, and makes nothing leave for itself. `hours` None: at any time."""

    free_vram: int | None = None
    hours: Hours | None = None


ALWAYS = When()


@value_class
class ModelSpec:
    """One wanted model.

    Exactly one of `replicas` and `each` is set. `nodes` are the nodes that `on` resolved to, in sorted order. `vram` is the declared need
    in bytes. `keep_alive` is seconds, `FOREVER` for never unloaded, None for the engine's own default. `digest` pins the weights
    (`sha256:HEX`), by its own key or by the lock file. `own_context` is what ran at an earlier serial where no context was asked for
    (only a rollback has it). `protect`: no plan takes a replica of it away. `variants` are the forms it may have,
    best first; a replica is one of them, and `variant` says which this value is about (None: not chosen yet, or it has none). `aliases` are
    further names of it, and `fallback` models that stand in for it; both for gateways only. It is only on a card where each of
    `with_models` is too, and never on one with any of `never_with`, nor they with it. `outside_hours` says that its hours are over
    (or not yet there), so that no replica of it is wanted just now. `runs` is what the start of its engine is to decide. Unset fields are
    the engine's.
    """

    name: str
    nodes: tuple[str, ...]
    on: str = "all"
    engine: EngineKind | None = None
    names: Mapping[EngineKind, str] = field(default_factory=lambda: _NO_NAMES)
    ensure: Ensure = Ensure.LOADED
    priority: int = 0
    replicas: int | None = 1
    each: Each | None = None
    spread: Spread = Spread.NODE
    spread_hard: bool = False
    context: int | None = None
    context_via: ContextVia = ContextVia.TAG
    options: Mapping[str, Scalar] = field(default_factory=lambda: _NOTHING)
    keep_alive: float | None = FOREVER
    residency: Residency = Residency.GPU
    min_gpu_fraction: float = 1.0
    requires: Requirements = Requirements()
    vram: int | None = None
    best_effort: bool = False
    digest: str | None = None
    protect: bool = False
    variants: tuple[Variant, ...] = ()
    variant: str | None = None
    verify: Verify = Verify()
    own_context: int | None = None
    aliases: tuple[str, ...] = ()
    fallback: tuple[str, ...] = ()
    with_models: tuple[str, ...] = ()
    never_with: tuple[str, ...] = ()
    prefer: Prefer = NO_PREFERENCE
    when: When = ALWAYS
    outside_hours: bool = False
    runs: RunOptions = AS_ENGINE_RUNS
    rollout: Rollout = ONE_BY_ONE
    _names: dict[EngineKind, tuple[str, str]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def at(self, time: datetime) -> ModelSpec:
        """The model as it is wanted at this moment: no replica of it outside its hours."""
        hours = self.when.hours
        if hours is None or hours.holds(time):
            return self
        return replace(self, replicas=0, each=None, outside_hours=True)

    def __hash__(self) -> int:
        """Of a fleet's models no two alternatives have one name and variant."""
        return hash((self.name, self.variant))

    @property
    def is_split(self) -> bool:
        """Whether one replica of it is to be on several cards at once."""
        return self.runs.split_cards is not None

    @property
    def wanted_context(self) -> int | None:
        """The context that it should run with; None: the engine's own."""
        return self.context if self.context is not None else self.own_context

    def other_context(self, running: int | None) -> bool:
        """Whether it runs with another context than it should; unknown is no other."""
        return self.wanted_context is not None and running is not None and running != self.wanted_context

    def dropped_context(self, asked_before: int | None, running: int | None) -> bool:
        """Whether it still runs with the context that was asked for before, and that is left to the engine now."""
        return self.wanted_context is None and asked_before is not None and running == asked_before

    def alternatives(self) -> tuple[ModelSpec, ...]:
        """What a replica of it can be, best first: this model once for each of its variants; itself where it has none or one is chosen."""
        if not self.variants or self.variant is not None:
            return (self,)
        known = tuple(replace(one, vram=self.vram if one.vram is None else one.vram) for one in self.variants)
        return tuple(replace(self, variants=known, variant=one.name, vram=one.vram) for one in known)

    def unchosen(self) -> ModelSpec:
        """The model as it is before one of its variants is chosen; itself where it has none. Each variant keeps its own declared need."""
        return replace(self, variant=None, vram=None) if self.variant is not None else self

    def called(self, kind: EngineKind, engine_name: str, context: int | None = None) -> ModelSpec | None:
        """The alternative that an engine of this kind knows by `engine_name`, plain or as the derived tag for `context`."""
        for one in self.alternatives():
            base = one.base_name(kind)
            tag = context_tag(base, context) if context is not None and kind is EngineKind.OLLAMA else base
            if engine_name in (one.engine_name(kind), base, tag):
                return one
        return None

    def base_name(self, kind: EngineKind) -> str:
        """The model's name on a kind of engine, in canonical form, before any derived tag; where no variant is chosen, of the best one."""
        return self.names_on(kind)[0]

    def engine_name(self, kind: EngineKind) -> str:
        """The name to load on a kind of engine: the derived tag where a context is kept in one."""
        return self.names_on(kind)[1]

    def names_on(self, kind: EngineKind) -> tuple[str, str]:
        """`base_name` and `engine_name`."""
        known = self._names.get(kind)
        if known is None:
            name = self.names.get(kind, self.name) if not self.variants else self.variant or self.variants[0].name
            base = tag = canonical_name(kind, name)
            if kind is EngineKind.OLLAMA and self.context is not None and self.context_via is ContextVia.TAG:
                tag = context_tag(base, self.context)
            known = self._names[kind] = base, tag
        return known

    def spelled(self, kind: EngineKind, base_name: str) -> str:
        """`base_name` as the files write it, where it is a name of this model on a kind of engine."""
        written = [self.names.get(kind, self.name), *(one.name for one in self.variants)]
        return next((spelled_name(kind, name) for name in written if canonical_name(kind, name) == base_name), base_name)


@value_class
class Guards:
    """How much a plan may take away before it is refused. `max_unload` is a number, or a share (0..1) of the owned residents; None allows
    any number. `max_delete` models may be deleted from disk, counted once an engine. `allow_empty` allows a desired state without models
    to unload all that is owned."""

    max_unload: int | Fraction | None = None
    max_evictions: int | None = None
    allow_empty: bool = False
    max_delete: int = 0


@value_class
class Policy:
    """What holds for a whole fleet. `breaker` None: an engine that keeps failing is tried again and again. For `lost_after` seconds an
    engine is unreachable before its replicas are placed elsewhere; None: never. For `drain` seconds a busy model is given time before it
    is unloaded; None: none. `allowed_containers` are what containers may have of their nodes though it makes them root there: `privileged`,
    or paths. `notify` are the webhooks of a service, `service` is who may ask it for what.
    `assumes_foreign`: a card whose use nobody can read is used as if its declared `foreign` were all."""

    unmanaged: Unmanaged = Unmanaged.LEAVE
    guards: Guards = Guards()
    health: Health = USUAL_HEALTH
    breaker: Breaker | None = None
    remediation: Remediation = USUAL_REMEDIATION
    lost_after: float | None = None
    drain: float | None = None
    thermal: Thermal | None = None
    memory_pressure: MemoryPressure | None = None
    allowed_containers: tuple[str, ...] = ()
    notify: tuple[Notify, ...] = ()
    service: ServicePolicy = NOBODY
    assumes_foreign: bool = True


_NOTHING_ELSE: Mapping[str, object] = MappingProxyType({})


@value_class
class Desired:
    """Everything wanted of a fleet. `models` is in file order with priority models first; order decides nothing."""

    models: tuple[ModelSpec, ...] = ()
    limits: Limits = NO_LIMITS
    strategy: Strategy = Strategy.LEAST_LOADED
    weights: Weights = ONLY_LOAD
    solver: Solver = Solver.BUILTIN
    policy: Policy = Policy()
    sections: Mapping[str, object] = field(default_factory=lambda: _NOTHING_ELSE)
    """What belongs to other kinds of resources, by key; read through their `Section`."""

    def at(self, time: datetime) -> Desired:
        """What is wanted at this moment, where models have hours. To be asked of the files each time: what is outside now, stays so."""
        if all(model.when.hours is None for model in self.models):
            return self
        return replace(self, models=tuple(model.at(time) for model in self.models))

    @property
    def hours(self) -> tuple[Hours, ...]:
        """All hours that models have."""
        return tuple(model.when.hours for model in self.models if model.when.hours is not None)

    @property
    def wanted(self) -> tuple[ModelSpec, ...]:
        """The models that are to be on some engine: all but those that are to be deleted."""
        return tuple(model for model in self.models if model.ensure is not Ensure.ABSENT)

    @property
    def absent(self) -> tuple[ModelSpec, ...]:
        """The models that are to be on no disk of their nodes."""
        return tuple(model for model in self.models if model.ensure is Ensure.ABSENT)
