"""What probing saw. None always means *unknown*: never 0, never a default, never "absent"."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import field
from enum import StrEnum
from typing import NamedTuple

from reconciler.fleet.inventory import CardSpec
from reconciler.fleet.names import CardId, EngineId, EngineKind
from reconciler.fleet.secret_refs import Scalar
from reconciler.value_class import value_class


class ResidentStatus(StrEnum):
    LOADED = "loaded"
    LOADING = "loading"
    SLEEPING = "sleeping"

    __hash__ = str.__hash__  # that of an Enum is a function in Python, and keys of many dictionaries are these


NOT_STARTED = "not_started"
"""The mode, in the facts that a plan is made with, of a server that gpurec starts and that nobody has seen yet: which models it has is
known only once it runs. Also the reason of one that does not answer since gpurec has not started it."""
STARTED_WITH_MODEL = "started_with_model"
"""The mode, in the facts that a plan is made with, of a server with one model that gpurec starts: it gets the model that is placed
there."""


class ResidentView(NamedTuple):
    """A resident without its bytes and its time: what tells whether it is as it should be, the same of many."""

    name: str
    status: ResidentStatus
    gpu_fraction: float | None
    context: int | None
    pinned: bool | None
    blob: str | None
    options: tuple[str, ...] | None


class _Viewed:
    """Room for the view of a resident, which is no field of it."""

    __slots__ = ("_view",)
    _view: ResidentView


@value_class
class Resident(_Viewed):
    """A model that an engine holds in memory (or is loading).

    `name` is canonical for the engine's kind. `size_bytes` is the whole of what the engine says it holds, `vram_bytes` the part on cards.
    `context` is what one request may use. `pinned` tells for-ever from a finite keep-alive; `expires_in` (seconds at probing time) is for
    showing only. `blob` identifies the weights, so that two names of one runner are seen as one; `digest` what its name stood for when it
    was loaded. `options` are the arguments of its runner where the engine tells them. `label` is its name in the engine's own spelling,
    where that is another.
    """

    name: str
    status: ResidentStatus = ResidentStatus.LOADED
    size_bytes: int | None = None
    vram_bytes: int | None = None
    context: int | None = None
    pinned: bool | None = None
    expires_in: float | None = None
    blob: str | None = None
    options: tuple[str, ...] | None = None
    label: str | None = None
    digest: str | None = None

    @property
    def shown(self) -> str:
        """Its name for people."""
        return self.label or self.name

    @property
    def gpu_fraction(self) -> float | None:
        """The share on cards, 0..1; unknown when either size is unknown or the engine reports a size of 0."""
        if self.size_bytes is None or self.vram_bytes is None or self.size_bytes <= 0:
            return None
        return self.vram_bytes / self.size_bytes

    @property
    def view(self) -> ResidentView:
        """What it is without its bytes, made once: on a large fleet many engines have one such value."""
        try:
            return self._view
        except AttributeError:
            self._view = ResidentView(self.name, self.status, self.gpu_fraction, self.context, self.pinned, self.blob, self.options)
            return self._view


@value_class
class ModelHeader:
    """What the header of a model's file says, as its engine tells it: the keys of the architecture, and the tensors as (name, type, shape
    with the row length first). Bounded, but not believed: what computes with it checks it."""

    keys: Mapping[str, Scalar | tuple[int | float | bool, ...]]
    tensors: tuple[tuple[str, str, tuple[int, ...]], ...]


@value_class
class Installed:
    """A model on an engine's disk. `failed` says that its last load on this engine failed (llama.cpp router only).

    `context` is one that is baked into it, `beside_bytes` what is loaded beside the weights (projector, adapters). `header` is one object
    for all engines that have the same file; documents hold it once, under the digest of the weights. `remote` is the host that the engine
    passes its requests on to: such a model has no weights here, takes no memory, and cannot be kept loaded.
    """

    name: str
    size_bytes: int | None = None
    digest: str | None = None
    blob: str | None = None
    embedding: bool | None = None
    failed: bool = False
    context: int | None = None
    beside_bytes: int = 0
    header: ModelHeader | None = field(default=None, repr=False)
    remote: str | None = None


@value_class
class EngineFacts:
    """One engine, as probed. When `reachable` is False everything else is unknown and `reason` says why (one sentence); recorded facts
    have then what was last known of it.

    `mode` is `router` or `single` for llama.cpp. `installed` and `residents` are None when the engine could not tell.
    `build` is the engine's version as it says it, `clock_skew` the seconds by which its machine's clock is ahead of ours, from the `Date`
    of its answers; None where they have none. `notes` are sentences about questions that it was asked in vain, which leave it known.
    """

    id: EngineId
    kind: EngineKind
    reachable: bool
    reason: str | None = None
    reason_code: str | None = None
    build: str | None = None
    mode: str | None = None
    max_residents: int | None = None
    installed: tuple[Installed, ...] | None = None
    residents: tuple[Resident, ...] | None = None
    probe_seconds: float = 0.0
    clock_skew: float | None = None
    notes: tuple[str, ...] = ()

    @property
    def silent(self) -> bool:
        """It should answer and does not. One that gpurec owns and has not started is not asked for more."""
        return not self.reachable and self.reason_code != NOT_STARTED


@value_class
class CardProcess:
    """A process that holds memory of a card. `container` is the id of the container that it runs in, `engine` the name of the node's engine
    that it belongs to, where that could be told."""

    pid: int
    name: str | None = None
    used_bytes: int | None = None
    container: str | None = None
    engine: str | None = None


@value_class
class CardFacts:
    """One card, or one MIG slice, as probed or declared. `assumed` says that its own use could not be read, so `foreign_bytes` is the
    declared one.

    `temperature` is in °C, `power` and `power_limit` in W, `utilisation` a ratio 0..1 (of time, not of memory). `throttle` are the reasons
    for which its clocks are held down, in the words of nvidia-smi (`hw_thermal_slowdown`); () is none. `ecc_errors` counts uncorrected ones
    since the driver was loaded, `xid` is the last error number of the driver (0: none). `cuda` is the newest CUDA that the driver runs.
    `mig_parent` is the UUID of the card that a slice is cut from. `unified`: it shares the node's RAM, and `total_bytes` is its part.
    `reserved_bytes` are the driver's own: part of the total, not of what is used.
    `total_from` says in one sentence where the size of a card that shares memory comes from. `number` is the index by which `gpus:` of the
    inventory may also mean a card whose id is a name.
    `fault` says in one sentence why the card cannot be used (lost, needs a reset). `at` is when it was looked at (ISO 8601 UTC).
    """

    index: CardId
    uuid: str | None = None
    name: str | None = None
    total_bytes: int | None = None
    used_bytes: int | None = None
    foreign_bytes: int | None = None
    compute_capability: tuple[int, int] | None = None
    driver: tuple[int, ...] | None = None
    source: str = "declared"
    assumed: bool = True
    temperature: float | None = None
    power: float | None = None
    power_limit: float | None = None
    utilisation: float | None = None
    throttle: tuple[str, ...] | None = None
    ecc_errors: int | None = None
    xid: int | None = None
    cuda: tuple[int, ...] | None = None
    float16: bool | None = None
    bfloat16: bool | None = None
    mig_parent: str | None = None
    unified: bool | None = None
    processes: tuple[CardProcess, ...] | None = None
    fault: str | None = None
    at: str | None = None
    reserved_bytes: int | None = None
    number: int | None = None
    total_from: str | None = None

    def is_named_in(self, marks: Collection[CardId] | None) -> bool:
        """Whether an engine's `gpus:` (None: all cards) names this card: by its id, by its number, by its UUID, or by the UUID of the card
        that it is a slice of."""
        if marks is None:
            return True
        return any(own is not None and own in marks for own in (self.index, self.number, self.uuid, self.mig_parent))

    def declared_in(self, specs: Collection[CardSpec]) -> CardSpec | None:
        """The declaration that is about this card: by UUID where both have one, else by its id or its number."""
        for spec in specs:
            if spec.uuid == self.uuid if spec.uuid is not None and self.uuid is not None else spec.index in (self.index, self.number):
                return spec
        return None


@value_class
class CardProbe:
    """How a node's cards were asked for. `via` is `nvml`, `ssh`, … or `declared`.

    `reason` says in one sentence why that way gave nothing (the cards are then the declared ones), `code` in a word. `notes` are sentences
    about what it found beside the cards: contradictions with the inventory, a MIG mode without slices.
    `clock_skew` are the seconds by which the node's clock is ahead of ours.
    """

    via: str
    at: str | None = None
    reason: str | None = None
    code: str | None = None
    notes: tuple[str, ...] = ()
    seconds: float = 0.0
    clock_skew: float | None = None


@value_class
class NodeFacts:
    """One node. `cards` None: not known; (): has none. `card_probe` None: its cards were not asked for."""

    node: str
    cards: tuple[CardFacts, ...] | None = None
    ram_bytes: int | None = None
    engines: Mapping[str, EngineFacts] = field(default_factory=dict)
    card_probe: CardProbe | None = None


@value_class
class FleetFacts:
    """All nodes at one time; `at` is ISO 8601 in UTC."""

    at: str
    nodes: Mapping[str, NodeFacts]

    def engine(self, at: EngineId) -> EngineFacts | None:
        node = self.nodes.get(at.node)
        return node.engines.get(at.engine) if node is not None else None

    @property
    def silent(self) -> tuple[EngineFacts, ...]:
        """The engines that should answer and do not, by node and name."""
        engines = (node.engines[name] for _, node in sorted(self.nodes.items()) for name in sorted(node.engines))
        return tuple(engine for engine in engines if engine.silent)
