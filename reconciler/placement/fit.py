"""Does a replica fit on an engine right now, and if not, why: the constraints that depend on what else is there."""

from __future__ import annotations

from collections.abc import Mapping

from reconciler.admission import PendingLoad
from reconciler.capacity import Charges, EngineState, Holding, Occupancy, margin_for
from reconciler.fleet import NOT_STARTED, STARTED_WITH_MODEL, Applied, EngineKind, Ensure, ModelSpec, fixed_otherwise
from reconciler.needs.run_settings import in_ram, installed_on
from reconciler.placement.engine_admission import coming_of, would_evict
from reconciler.placement.residents import need_on
from reconciler.value_class import value_class
from reconciler.vram import Need

CAPACITY_REASONS = frozenset({"insufficient_vram", "insufficient_ram", "too_large", "memory_limit", "engine_would_evict"})
"""Reasons that another replica's leaving could change (`too_large` aside, kept with them since a smaller need may fit)."""


FREE_VRAM = "free_vram"
"""There is room, and less of it free than the model asks for before it comes."""


@value_class
class Fit:
    """Room for a replica: what it needs and where that would be charged; `shares` says that its runner is there. `runner` is as
    its engine tells it apart, `coming` how an engine that predicts loads will see this one, `cache` the
    bytes of its KV cache on each card where a card bounds them."""

    need: Need
    charges: Charges
    runner: str
    shares: bool = False
    coming: PendingLoad | None = None
    cache: int = 0


def static_refusal(slot: EngineState, model: ModelSpec) -> str | None:
    """Why an engine cannot take this very model, whatever else is there: not reachable, outside the limit, fixed, not installed."""
    if not slot.reachable:
        return "unreachable"
    if not slot.selected:
        return "outside_limit"
    facts = slot.facts
    if facts is not None and facts.mode == "single":
        return "engine_fixed_model"
    given = facts is not None and facts.mode in (STARTED_WITH_MODEL, NOT_STARTED)
    if slot.kind is not EngineKind.OLLAMA and not given and slot.installed(model.base_name(slot.kind)) is None:
        return "not_installed"
    if model.ensure is Ensure.LOADED and (file := installed_on(slot, model)) is not None and file.remote is not None:
        return "runs_elsewhere"
    if slot.identity.weights_differ(model, slot.kind):
        return "digest_differs"
    if not in_ram(slot, model) and True in [card.is_closed for card in slot.cards or ()]:
        return "foreign_unknown"
    return "engine_fixed_options" if fixed_otherwise(slot.spec, model.runs) is not None else None


def fit(slot: EngineState, model: ModelSpec, applied: Applied) -> Fit | str:
    """Room for `model` on `slot` as the board stands, or the reason why there is none."""
    reason = static_refusal(slot, model)
    if reason is not None:
        return reason
    room = room_for(slot, model, applied)
    return FREE_VRAM if isinstance(room, Fit) and is_short_of_free(model, room) else room


def is_short_of_free(model: ModelSpec, room: Fit) -> bool:
    """Whether a card that would take it has less free than it asks for before it comes (`when.free_vram`)."""
    least = model.when.free_vram
    return least is not None and any(card.free < least for card, _ in room.charges if not card.is_ram)


def room_for(slot: EngineState, model: ModelSpec, applied: Applied) -> Fit | str:
    """Like `fit`, for an engine that could take the model: only need and room are asked."""
    need = need_on(slot, model, applied)
    key = slot.runner(model)
    runner = slot.runners.get(key)
    if runner is not None:
        if runner.started_for is not model and (runner.started_for is None or _options(runner.started_for) != _options(model)):
            return "shared_runner_conflict"
        return Fit(Need(0, need.source if need is not None else "declared"), (), key, True)
    if need is None:
        return "need_unknown"
    if slot.full:
        return "engine_would_evict"
    if in_ram(slot, model):
        if slot.ram.usable is None:
            return "ram_unknown"
        return Fit(need, ((slot.ram, need.bytes),), key) if slot.ram.free >= need.bytes else "insufficient_ram"
    charges = _on_cards(slot, model, need, applied, margin_for(slot, model))
    cache = 0
    if charges is not None and slot.bounds_cache:
        spread = charges[0][1] < need.bytes
        cache = slot.knowledge.cache(slot, model, applied, len(charges) if spread else 1) or 0
        charges = slot.within_cache(charges, cache, spread)
        if charges is None:
            return "kv_cache_fraction"
    if charges is not None:
        coming = coming_of(slot, model, charges, applied) if slot.rules.memory else None
        evicts = coming is not None and slot.placed > 0 and would_evict(slot, coming)
        return "engine_would_evict" if evicts else Fit(need, charges, key, coming=coming, cache=cache)
    if spills(slot, model, need, applied):
        return "engine_would_evict"
    cards = slot.cards or ()
    if need.bytes > slot.whole:
        return "too_large"
    on_each = part_on(slot, model, need, applied) if model.is_split else need.bytes
    enough = [card.free >= on_each for card in cards]
    if slot.spec.memory_limit is not None and (all(enough) if model.is_split else any(enough)):
        return "memory_limit"
    return "insufficient_vram"


def spills(slot: EngineState, model: ModelSpec, need: Need, applied: Applied) -> bool:
    """Whether there is room for `model`, of which this engine would still put a part on the CPU, since it leaves so much of a card free."""
    margin = margin_for(slot, model)
    if not margin or _on_cards(slot, model, need, applied, margin) is not None:
        return False
    return _on_cards(slot, model, need, applied, 0) is not None


def _on_cards(slot: EngineState, model: ModelSpec, need: Need, applied: Applied, margin: int) -> Charges | None:
    return slot.charges_for(need.bytes, lambda: part_on(slot, model, need, applied), margin, model.is_split)


def part_on(slot: EngineState, model: ModelSpec, need: Need, applied: Applied) -> int:
    """The most bytes that a card holds of `model` spread over all cards of this engine: as computed, else an even part."""
    computed = need.source in ("computed", "measured") or (
        need.source == "catalogue" and slot.knowledge.listed(slot, model, applied) is not None
    )
    told = slot.knowledge.part(slot, model, applied) if computed else None
    return told if told is not None else -(-need.bytes // max(1, len(slot.cards or ())))


def take(board: Occupancy, slot: EngineState, model: ModelSpec, room: Fit, applied: Applied) -> Holding | None:
    """Puts what a fit that was just given takes as the board stands; None where that is nothing."""
    if room.shares:
        return None
    coming = (room.coming or coming_of(slot, model, room.charges, applied)) if slot.rules.memory else None
    load = (model.name, coming) if coming is not None else None
    holding = Holding(slot, room.charges, runner=room.runner, started_for=model, load=load, cache=room.cache)
    board.put(holding)
    return holding


def _options(model: ModelSpec) -> str:
    options: Mapping[str, object] = model.options
    return f"{model.context} {model.residency} {sorted(options.items())}"
