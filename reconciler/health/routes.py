"""Where a request for a model should go now: every engine with yes or no and why, the best first. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit

from reconciler.fleet import (
    NOT_STARTED,
    Applied,
    CardId,
    EngineFacts,
    EngineKind,
    FleetFacts,
    LoadKey,
    Resident,
    ResidentStatus,
    format_bytes,
    format_ratio,
)
from reconciler.needs.run_settings import installed_on
from reconciler.placement import EngineAnswer
from reconciler.value_class import value_class

TOKENS = 512
GB = 10**9
_SPEEDS = ((2 * GB, 200.0), (8 * GB, 150.0), (15 * GB, 100.0))
_SLOWEST = 50.0
"""Tokens a second by the bytes of a model, as people run llama.cpp on one 24 GB card: a rule of thumb where nothing was measured."""
_OF_ROOM = frozenset({"insufficient_vram", "too_large", "memory_limit", "insufficient_ram", "engine_would_evict"})


@value_class
class RouteChoice:
    """One engine's answer. `verdict` is `loaded`, `partly_loaded`, `loading`, `can_load`, `can_pull` or `no`; `code` and `message` say why.

    `used_fraction` is the part of its fullest card that is charged, `busy` how much of the time the card works (0..1, None: not known).
    `load_seconds` is what such a load took before, None where that is not known or none is needed. `served_name` is
    what a request asks that engine for: a derived tag has a name of its own.
    """

    engine: str
    served_name: str
    kind: EngineKind
    port: int
    verdict: str
    code: str
    message: str
    gpus: tuple[CardId, ...]
    vram_bytes: int | None
    used_fraction: float
    busy: float | None = None
    load_seconds: float | None = None

    @property
    def serves(self) -> bool:
        return self.verdict != "no"


@value_class
class Route:
    """All answers, the best first; `winner` is the first that serves. `exceeds` says that only memory keeps it from every engine that could
    serve it. `seconds` is the estimated time of a request of `tokens`, None where nobody can tell."""

    model: str
    tokens: int
    choices: tuple[RouteChoice, ...]
    exceeds: bool

    @property
    def winner(self) -> RouteChoice | None:
        return self.choices[0] if self.choices and self.choices[0].serves else None

    @property
    def seconds(self) -> float | None:
        won = self.winner
        if won is None or won.vram_bytes is None or won.verdict not in ("loaded", "can_load"):
            return None
        load = 0.0 if won.verdict == "loaded" else won.load_seconds
        return None if load is None else load + self.tokens / speed_of(won.vram_bytes)


def speed_of(vram_bytes: int) -> float:
    """Tokens a second that a model of this size makes, by rule of thumb."""
    return next((speed for most, speed in _SPEEDS if vram_bytes < most), _SLOWEST)


_RANKS = ("loaded", "loading", "can_load", "partly_loaded", "can_pull", "no")


def route(model: str, found: Sequence[EngineAnswer], facts: FleetFacts, applied: Applied, tokens: int = TOKENS) -> Route:
    """Ranks what `candidates` found: where it is wholly loaded before where it would be loaded, the idler and emptier card first."""
    choices = [_choice(one, facts, applied) for one in found]
    choices.sort(key=lambda one: (_RANKS.index(one.verdict), one.busy or 0.0, one.used_fraction, one.engine))
    exceeds = not any(one.serves for one in choices) and any(one.code in _OF_ROOM for one in choices)
    return Route(model, tokens, tuple(choices), exceeds)


def _choice(one: EngineAnswer, facts: FleetFacts, applied: Applied) -> RouteChoice:
    slot = one.slot
    engine = facts.engine(slot.id)
    resident = _resident(one, engine) if one.code == "resident" else None
    verdict, code, message = _verdict(one, engine, resident)
    need = one.needs[0].bytes if one.needs else None
    busy = [card.facts.utilisation for card in one.cards if card.facts is not None and card.facts.utilisation is not None]
    key = LoadKey(slot.kind, one.model.engine_name(slot.kind), one.model.context)
    return RouteChoice(
        str(slot.id),
        _served_name(one, resident),
        slot.kind,
        _port(slot.spec.url),
        verdict,
        code,
        message,
        tuple(card.index for card in one.cards),
        resident.vram_bytes if resident is not None and resident.vram_bytes else need,
        slot.used_fraction,
        max(busy, default=None),
        applied.load_seconds.get(key) if verdict == "can_load" else None,
    )


def _served_name(one: EngineAnswer, resident: Resident | None) -> str:
    """Of what is resident, else of what is installed, else of what a plan would make."""
    kind, model = one.slot.kind, one.model
    tag, base = model.engine_name(kind), model.base_name(kind)
    if resident is not None:
        return resident.name
    return base if one.slot.installed(tag) is None and one.slot.installed(base) is not None else tag


def _verdict(one: EngineAnswer, engine: EngineFacts | None, resident: Resident | None) -> tuple[str, str, str]:
    if engine is None or not engine.reachable:
        reason = engine.reason if engine is not None else None
        if engine is not None and not engine.silent:
            return "no", NOT_STARTED, reason or NOT_STARTED
        return "no", "unreachable", f"cannot be asked: {reason or 'nothing is known of it'}"
    if one.code == "resident":
        return _of_resident(resident)
    if not one.fits:
        return "no", one.code, one.message
    if installed_on(one.slot, one.model) is None:
        return "can_pull", "not_installed", "fits, and must be pulled first"
    room = [card.free for card in one.cards if card.usable is not None]
    free = f" into {format_bytes(max(room))} free" if room else ""
    return "can_load", "fits", f"fits{free}; a request loads it"


def _of_resident(resident: Resident | None) -> tuple[str, str, str]:
    if resident is not None and resident.status is ResidentStatus.LOADING:
        return "loading", "resident", "is being loaded"
    if resident is None or resident.vram_bytes is None or not resident.size_bytes:
        return "loaded", "resident", "is loaded"
    part = resident.vram_bytes / resident.size_bytes
    if part < 1.0:
        return "partly_loaded", "cpu_fallback", f"is loaded, with {format_ratio(part)} of it on the card"
    return "loaded", "resident", "is loaded, all of it on the card"


def _resident(one: EngineAnswer, engine: EngineFacts | None) -> Resident | None:
    kind = one.slot.kind
    names = {one.model.engine_name(kind), one.model.base_name(kind)}
    return next((held for held in (engine.residents if engine is not None else None) or () if held.name in names), None)


def _port(url: str) -> int:
    parts = urlsplit(url)
    return parts.port or (443 if parts.scheme == "https" else 80)
