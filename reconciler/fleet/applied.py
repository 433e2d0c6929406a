"""What earlier runs did: the part of the state that planning needs, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import NamedTuple

from reconciler.fleet.facts import Resident
from reconciler.fleet.levels import Heat
from reconciler.fleet.names import CardId, EngineId, EngineKind
from reconciler.fleet.resources import AppliedResource
from reconciler.fleet.secret_refs import Scalar
from reconciler.value_class import value_class

CardCharges = tuple[tuple[CardId, int], ...]
"""The cards of a node that a load is charged to, each with the bytes on it; card −1 is the node's RAM."""


class AskedBefore(NamedTuple):
    """What was asked of a replica that was applied: the same of many. `options` in the order of their names."""

    ensure: str
    engine_name: str
    context: int | None
    keep_alive: float | None
    residency: str
    protect: bool
    options: tuple[tuple[str, Scalar], ...]

    @classmethod
    def with_options(
        cls,
        ensure: str,
        name: str,
        context: int | None,
        keep_alive: float | None,
        residency: str,
        protect: bool,
        options: Mapping[str, Scalar],
    ) -> AskedBefore:
        """The same, `options` in any order."""
        return cls(ensure, name, context, keep_alive, residency, protect, tuple(sorted(options.items())) if options else ())


class _Asked:
    """Room for what was asked of a replica, which is no field of it."""

    __slots__ = ("_asked",)
    _asked: AskedBefore


@value_class
class AppliedReplica(_Asked):
    """One replica as it was last applied and then observed. Owned by the state: what is here may be unloaded when no longer wanted.

    `engine_name` is the name on the engine (a derived tag perhaps). `ensure` is `loaded` or `present`. `options`, `context`
    and `keep_alive` are what was asked; the `observed_…` fields are what probing showed right after, None when it cannot be seen.
    `protect` is what the files said last: it holds also after the model left them. `charges` is what its load, or that of the runner that
    it shares with other names, was charged with when it was placed; None where nobody has written that down.
    """

    address: str
    model: str
    at: EngineId
    engine_name: str
    ensure: str = "loaded"
    context: int | None = None
    options: Mapping[str, Scalar] = field(default_factory=dict)
    keep_alive: float | None = None
    residency: str = "gpu"
    observed_context: int | None = None
    observed_gpu_fraction: float | None = None
    observed_pinned: bool | None = None
    vram_bytes: int | None = None
    serial: int = 0
    protect: bool = False
    charges: CardCharges | None = None

    @property
    def asked(self) -> AskedBefore:
        """What was asked of it, made once."""
        try:
            return self._asked
        except AttributeError:
            asked = self.ensure, self.engine_name, self.context, self.keep_alive, self.residency, self.protect
            self._asked = AskedBefore.with_options(*asked, self.options)
            return self._asked

    def sharing(self, asked: AskedBefore) -> AppliedReplica:
        """This row itself; `asked` is what was asked of it, one value for many rows."""
        self._asked = asked
        return self

    def charges_of(self, resident: Resident) -> CardCharges | None:
        """What it was charged with, where this resident is still the load of then. With another context its engine has loaded it anew since
        then, for somebody else, and it may be on other cards."""
        seen, then = resident.context, self.observed_context
        return self.charges if seen is None or then is None or seen == then else None


@value_class
class ReplicaChange:
    """What is asked of an address became another at `serial`: the state took it on, gave it up, or asks for something else of it.

    `run` is the id of the run that recorded it and `plan_digest` that of its plan (empty where it had none, as `state rm`); None where the
    state does not tell. `what` says in words who ran what, and when.
    """

    address: str
    serial: int
    run: int | None = None
    plan_digest: str | None = None
    what: str = ""


@value_class
class LoadKey:
    """What the time of a load depends on."""

    kind: EngineKind
    engine_name: str
    context: int | None


@value_class
class Incident:
    """Something that befell a replica, and that is not repaired for ever: `code` is `evicted` (for the resident `evictor`), `held`, or
    `context_differs` or `cpu_fallback`, which a reload was to mend. `at` is ISO 8601 in UTC, `asked` the digest of what was asked of its
    model then."""

    address: str
    code: str
    at: str
    asked: str
    evictor: str | None = None


@value_class
class MeasuredKey:
    """What a measured need depends on; a figure counts for nothing else.

    `weights` is the digest of the weights, or `KIND:NAME` on an engine that tells none. `build` and `gpu` are the engine's version and the
    names of its cards, as they say them. `context` is what one request may use, `kv_cache` the type of the cache, `batch` a batch that was
    asked for. Empty, 0 or None: not known, or the engine's own.
    """

    weights: str
    build: str
    gpu: str
    context: int | None
    parallel: int = 0
    kv_cache: str = ""
    flash_attention: bool | None = None
    batch: int | None = None


@value_class
class Measured:
    """What a load really took: bytes on cards as its engine reports them, and as the cards lost them; None where that was not seen."""

    reported_bytes: int | None = None
    card_bytes: int | None = None


@value_class
class Applied:
    """A snapshot of the state. `lineage` None: there is no state yet. `silent` are engines that the last apply could not reach, with the
    time (ISO 8601, UTC) of the first apply in a row that could not. `heat` is how hot each card was when an
    apply looked last, by node and index; normal is left out. `tags` are the derived tags that gpurec ever made or used on an engine, each
    with the name that it was made from; read only where they are asked for."""

    lineage: str | None = None
    serial: int = 0
    replicas: Mapping[str, AppliedReplica] = field(default_factory=dict)
    measured: Mapping[MeasuredKey, Measured] = field(default_factory=dict)
    load_seconds: Mapping[LoadKey, float] = field(default_factory=dict)
    incidents: tuple[Incident, ...] = ()
    silent: Mapping[EngineId, str] = field(default_factory=dict)
    heat: Mapping[tuple[str, CardId], Heat] = field(default_factory=dict)
    tags: Mapping[EngineId, Mapping[str, str]] = field(default_factory=dict)
    resources: Mapping[str, AppliedResource] = field(default_factory=dict)
    """Resources of other kinds than models, by address."""


NOTHING_APPLIED = Applied()
