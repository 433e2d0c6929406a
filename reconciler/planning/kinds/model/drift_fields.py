"""Every field that drift looks at, with its class beside its definition. The diff is derived from this table.

- **managed**: gpurec asked for it, so it is compared with what was asked or seen when it was last applied; the next apply repairs it.
- **observed**: nobody here asks for it; it is compared with the facts that the last apply recorded, so it is told until the next apply.
- **volatile**: it moves by itself, so only what leaves its tolerance is told, and without a tolerance nothing.

A comparison of which either side is unknown is no drift.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Generic, NamedTuple, TypeVar

from reconciler.fleet import MIB, CardFacts, CardSpec, EngineFacts, Resident, ResidentStatus, ResidentView
from reconciler.planning.plan import Value
from reconciler.value_class import value_class

FOREIGN_TOLERANCE = 64 * MIB
"""Bytes by which a card's foreign use may pass its allowance: drivers and displays move by some."""
LEAST_SEEN_SHARE = 0.5
"""The share of what an engine says it holds on cards that the cards themselves must show; engines say estimates."""

Change = tuple[Value, Value]
"""What was applied (or recorded, or allowed), and what was found."""


class FieldClass(StrEnum):
    MANAGED = "managed"
    OBSERVED = "observed"
    VOLATILE = "volatile"


class Subject(StrEnum):
    """What a field belongs to, and so the form of its address: `model.NAME@NODE/ENGINE`, `engine.NODE/ENGINE`, `gpu.NODE/INDEX`."""

    REPLICA = "replica"
    ENGINE = "engine"
    CARD = "card"


class RowView(NamedTuple):
    """What the state has of a replica, as far as it is compared."""

    ensure: str
    residency: str
    gpu_fraction: float | None
    context: int | None
    pinned: bool | None


WeightsView = tuple[str | None, str | None]
"""The digest of an installed model and that of its weights."""


class ReplicaPair(NamedTuple):
    """A replica as applied and as found, as far as they are compared: what is alike is compared once. `resident` None: it is not resident;
    `were_options` and `was_installed` are of the recorded facts.

    `listed` says whether the engine could tell what is installed, `resident_known` what is resident. `least` is the smallest share on
    cards that is allowed, `short_of` the bytes that it says it holds on cards and those in use there, where that is too little.
    """

    row: RowView
    resident: ResidentView | None
    resident_known: bool
    installed: WeightsView | None
    listed: bool
    were_options: tuple[str, ...] | None
    was_installed: WeightsView | None
    least: float
    short_of: tuple[int, int] | None

    @property
    def settled(self) -> ResidentView | None:
        """The resident, unless it is still loading."""
        return self.resident if self.resident is not None and self.resident.status is not ResidentStatus.LOADING else None


@value_class
class EnginePair:
    """An engine as the last apply recorded it (what it could not ask is as it was last known), and as found; it can be asked now."""

    was: EngineFacts
    now: EngineFacts


@value_class
class CardPair:
    """A card as declared, as recorded by the last apply, and as found; `now` None: the node's cards were read, and it is not among them.
    `allowed` are the bytes of it that others may use: the declared `foreign`, and the shares of what is only looked at."""

    spec: CardSpec | None
    was: CardFacts | None
    now: CardFacts | None
    allowed: int = 0


Pair = TypeVar("Pair")


@value_class
class DriftField(Generic[Pair]):
    """One field. `kind` None: never told. `facts` are the fields of the facts types that it looks at. `compare` None: it is either never
    told, or found while the plan is made (what the placement sees, what cannot be reached)."""

    subject: Subject
    name: str
    kind: str | None
    klass: FieldClass
    facts: tuple[str, ...]
    meaning: str
    compare: Callable[[Pair], Change | None] | None = None


def _resident(pair: ReplicaPair) -> Change | None:
    return (True, False) if pair.row.ensure == "loaded" and pair.resident_known and pair.resident is None else None


def _installed(pair: ReplicaPair) -> Change | None:
    there = pair.row.ensure == "present" or pair.resident is not None
    return (True, False) if there and pair.listed and pair.installed is None else None


def _gpu_fraction(pair: ReplicaPair) -> Change | None:
    before, found = pair.row.gpu_fraction, pair.settled.gpu_fraction if pair.settled is not None else None
    if pair.row.residency != "gpu" or before is None or found is None or found >= min(before, pair.least):
        return None
    return before, round(found, 4)


def _card_bytes(pair: ReplicaPair) -> Change | None:
    return pair.short_of if pair.settled is not None and pair.row.residency == "gpu" else None


def _context(pair: ReplicaPair) -> Change | None:
    return _unlike(pair.row.context, pair.settled.context) if pair.settled is not None else None


def _pinned(pair: ReplicaPair) -> Change | None:
    return (True, False) if pair.row.pinned and pair.settled is not None and pair.settled.pinned is False else None


def _options(pair: ReplicaPair) -> Change | None:
    were, now = pair.were_options, pair.settled
    if were is None or now is None or now.options is None:
        return None
    gone = sorted(set(were) - set(now.options))
    come = sorted(set(now.options) - set(were))
    return (" ".join(gone) or "none", " ".join(come) or "none") if gone or come else None


def _digest(pair: ReplicaPair) -> Change | None:
    was, now = pair.was_installed, pair.installed
    if was is None or now is None:
        return None
    return _unlike(was[1], now[1]) if was[0] is None or now[0] is None else _unlike(was[0], now[0])


def short_of(resident: Resident | None, cards_used: int | None) -> tuple[int, int] | None:
    """The bytes that a resident says it holds on cards, and those in use there (None: not every one was read), where that is too little."""
    said = resident.vram_bytes if resident is not None else None
    return (said, cards_used) if said and cards_used is not None and cards_used < said * LEAST_SEEN_SHARE else None


def _restarted(pair: EnginePair) -> Change | None:
    """Of a single one nobody can say whether it left by itself."""
    held = len(pair.was.residents or ())
    return (held, 0) if held > 1 and pair.now.residents == () else None


def _foreign(pair: CardPair) -> Change | None:
    card = pair.now
    if card is None or pair.spec is None or card.assumed or card.foreign_bytes is None:
        return None
    return (pair.allowed, card.foreign_bytes) if card.foreign_bytes > pair.allowed + FOREIGN_TOLERANCE else None


def _card(pair: CardPair) -> Change | None:
    return (True, False) if pair.now is None else None


def _driver(pair: CardPair) -> Change | None:
    if pair.was is None or pair.now is None or pair.was.driver is None or pair.now.driver is None:
        return None
    return _unlike(".".join(map(str, pair.was.driver)), ".".join(map(str, pair.now.driver)))


def _cuda(pair: CardPair) -> Change | None:
    if pair.was is None or pair.now is None or pair.was.cuda is None or pair.now.cuda is None:
        return None
    return _unlike(".".join(map(str, pair.was.cuda)), ".".join(map(str, pair.now.cuda)))


def _fault(pair: CardPair) -> Change | None:
    if pair.was is None or pair.now is None or pair.now.fault is None or pair.was.fault is not None:
        return None
    return "none", pair.now.fault


def _capability(pair: CardPair) -> Change | None:
    if pair.was is None or pair.now is None or pair.was.compute_capability is None or pair.now.compute_capability is None:
        return None
    return _unlike(".".join(map(str, pair.was.compute_capability)), ".".join(map(str, pair.now.compute_capability)))


def _unlike(was: Value, now: Value) -> Change | None:
    return (was, now) if was is not None and now is not None and was != now else None


def _of_card(name: str) -> Callable[[CardPair], Change | None]:
    def compare(pair: CardPair) -> Change | None:
        return _unlike(getattr(pair.was, name), getattr(pair.now, name)) if pair.was is not None and pair.now is not None else None

    return compare


def _of_engine(name: str) -> Callable[[EnginePair], Change | None]:
    def compare(pair: EnginePair) -> Change | None:
        return _unlike(getattr(pair.was, name), getattr(pair.now, name))

    return compare


MANAGED, OBSERVED, VOLATILE = FieldClass.MANAGED, FieldClass.OBSERVED, FieldClass.VOLATILE

# fmt: off
REPLICA_FIELDS: tuple[DriftField[ReplicaPair], ...] = (
    DriftField(Subject.REPLICA, "resident", "missing", MANAGED, ("EngineFacts.residents", "Resident.status"),
               "it was resident and is gone; one that is loading counts as there", _resident),
    DriftField(Subject.REPLICA, "installed", "missing", MANAGED, ("EngineFacts.installed",),
               "it is not installed any more: it only had to be (`ensure: present`), or was deleted while it runs", _installed),
    DriftField(Subject.REPLICA, "gpu_fraction", "cpu_fallback", MANAGED, ("Resident.size_bytes", "Resident.vram_bytes"),
               "a smaller share is on the card than when applied, and than `min_gpu_fraction` allows", _gpu_fraction),
    DriftField(Subject.REPLICA, "card_bytes", "cpu_fallback", VOLATILE, ("CardFacts.used_bytes",),
               "the cards show less than half of what the engine says it holds there; only where they are probed", _card_bytes),
    DriftField(Subject.REPLICA, "context", "context", MANAGED, ("Resident.context",),
               "what one request may use is not what it was", _context),
    DriftField(Subject.REPLICA, "pinned", "keep_alive", MANAGED, ("Resident.pinned",),
               "it was held for ever, and now expires by itself", _pinned),
    DriftField(Subject.REPLICA, "options", "options", OBSERVED, ("Resident.options",),
               "its runner has other options than at the last apply; only where the engine tells them", _options),
    DriftField(Subject.REPLICA, "digest", "digest", OBSERVED, ("Installed.digest", "Installed.blob"),
               "the weights under its name are others than at the last apply", _digest),
    DriftField(Subject.REPLICA, "resident", "unmanaged", MANAGED, ("EngineFacts.residents",),
               "a resident that nobody here asked for, where `policy.unmanaged` is `drift` or `unload`"),
    DriftField(Subject.REPLICA, "context", "engine_fixed_options", MANAGED, ("Resident.context",),
               "another context than wanted, which the engine's own start decided: no step can change it"),
    DriftField(Subject.REPLICA, "expires_in", None, VOLATILE, ("Resident.expires_in",), "moves with every request"),
    DriftField(Subject.REPLICA, "installed_as", None, VOLATILE,
               ("Installed.size_bytes", "Installed.embedding", "Installed.context", "Installed.beside_bytes", "Installed.header",
                "Installed.remote",
                "Resident.blob", "Resident.digest"), "follows the digest"),
    DriftField(Subject.REPLICA, "failed", None, VOLATILE, ("Installed.failed",), "how its last load ended; the plan tells it"),
)

ENGINE_FIELDS: tuple[DriftField[EnginePair], ...] = (
    DriftField(Subject.ENGINE, "reachable", "unreachable", OBSERVED,
               ("EngineFacts.reachable", "EngineFacts.reason", "EngineFacts.reason_code"),
               "it cannot be asked, so nothing of it is known: told under `deferred`, exit 4"),
    DriftField(Subject.ENGINE, "residents", "restarted", OBSERVED, ("EngineFacts.residents",),
               "all that it held at the last apply (two or more) is gone at once: it was started again", _restarted),
    DriftField(Subject.ENGINE, "build", "version", OBSERVED, ("EngineFacts.build",),
               "its version is another than at the last apply", _of_engine("build")),
    DriftField(Subject.ENGINE, "mode", "environment", OBSERVED, ("EngineFacts.mode",),
               "llama.cpp runs as `router` where it was `single`, or the other way round", _of_engine("mode")),
    DriftField(Subject.ENGINE, "max_residents", "environment", OBSERVED, ("EngineFacts.max_residents",),
               "it may hold another number of models than at the last apply", _of_engine("max_residents")),
    DriftField(Subject.ENGINE, "probe_seconds", None, VOLATILE, ("EngineFacts.probe_seconds", "EngineFacts.notes"), "how long asking took"),
    DriftField(Subject.ENGINE, "clock_skew", None, VOLATILE, ("EngineFacts.clock_skew",), "moves with every look; `doctor` tells it"),
)

CARD_FIELDS: tuple[DriftField[CardPair], ...] = (
    DriftField(Subject.CARD, "card", "card_lost", OBSERVED, ("NodeFacts.cards", "CardFacts.uuid", "CardFacts.source"),
               "it was seen at the last apply and is not seen any more (by UUID, else by index); only where cards are probed", _card),
    DriftField(Subject.CARD, "foreign_bytes", "foreign_vram", VOLATILE, ("CardFacts.foreign_bytes", "CardFacts.assumed"),
               "other programs use more than 64 MiB above the declared `foreign` and the shares of services; only where its use is probed",
               _foreign),
    DriftField(Subject.CARD, "driver", "version", OBSERVED, ("CardFacts.driver",),
               "its driver is another than at the last apply; only where cards are probed", _driver),
    DriftField(Subject.CARD, "total_bytes", "card_changed", OBSERVED, ("CardFacts.total_bytes", "CardFacts.total_from"),
               "its memory has another size than at the last apply; only where cards are probed", _of_card("total_bytes")),
    DriftField(Subject.CARD, "name", "card_changed", OBSERVED, ("CardFacts.name",),
               "it is of another model than at the last apply; only where cards are probed", _of_card("name")),
    DriftField(Subject.CARD, "compute_capability", "card_changed", OBSERVED, ("CardFacts.compute_capability",),
               "it has another compute capability than at the last apply; only where cards are probed", _capability),
    DriftField(Subject.CARD, "cuda", "version", OBSERVED, ("CardFacts.cuda",),
               "the newest CUDA that its driver runs is another than at the last apply; only where cards are probed", _cuda),
    DriftField(Subject.CARD, "fault", "card_fault", OBSERVED, ("CardFacts.fault",),
               "it cannot be used any more: lost, or in need of a reset; only where cards are probed", _fault),
    DriftField(Subject.CARD, "float16", None, VOLATILE, ("CardFacts.float16", "CardFacts.bfloat16"), "follow the compute capability"),
    DriftField(Subject.CARD, "mig_parent", None, VOLATILE, ("CardFacts.mig_parent", "CardFacts.unified"),
               "another cut of a card is other slices: lost ones are told as `card_lost`"),
    DriftField(Subject.CARD, "temperature", None, VOLATILE,
               ("CardFacts.temperature", "CardFacts.power", "CardFacts.power_limit", "CardFacts.utilisation", "CardFacts.throttle",
                "CardFacts.reserved_bytes"),
               "readings of the moment; `policy.thermal` judges them when a step runs"),
    DriftField(Subject.CARD, "errors", None, VOLATILE, ("CardFacts.ecc_errors", "CardFacts.xid"), "counts; `gpurec doctor` tells them"),
    DriftField(Subject.CARD, "processes", None, VOLATILE, ("CardFacts.processes",), "what holds its memory, which `foreign_bytes` sums up"),
    DriftField(Subject.CARD, "at", None, VOLATILE, ("CardFacts.at", "NodeFacts.card_probe"), "when and how it was looked at"),
    DriftField(Subject.CARD, "ram_bytes", None, VOLATILE, ("NodeFacts.ram_bytes",), "the node's memory, which sums take as found"),
)
# fmt: on

KEYS = frozenset(
    {
        "Resident.name",
        "Resident.label",
        "Installed.name",
        "EngineFacts.id",
        "EngineFacts.kind",
        "CardFacts.index",
        "CardFacts.number",
        "NodeFacts.node",
    }
)
"""What tells one thing from another, so that it can be compared at all."""
CONTAINERS = frozenset({"NodeFacts.engines"})
