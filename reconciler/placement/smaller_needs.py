"""What an unplaced model could ask for less of, and the card that would hold it: lines for the files, each tried."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from reconciler.capacity import EngineState, margin_for, set_up
from reconciler.fleet import (
    GIB,
    MIB,
    CardFacts,
    CardSpec,
    EngineKind,
    Fleet,
    FleetFacts,
    KvCache,
    Limits,
    ModelSpec,
    NodeFacts,
    Variant,
    format_bytes,
)
from reconciler.needs.context_search import ContextSearch, Known, fitted
from reconciler.needs.run_settings import in_ram
from reconciler.placement.fit import Fit, fit
from reconciler.placement.residents import need_on
from reconciler.placement.trials import Line, Trials, setting
from reconciler.vram import AS_THE_ENGINE, CACHE_TYPES, Asked, UnknownLayout

WIDEST = 8
"""On how many engines a smaller need is tried, those with the most room first."""
LEAST_PART = 4
"""A variant that would have to be smaller than this part of the model is not the same any more."""
USUAL_CARDS = (4, 6, 8, 10, 11, 12, 16, 20, 24, 32, 40, 48, 64, 80, 96, 128, 141, 180, 192, 256, 288)
"""GiB of the cards that are sold."""


def asking_for_less(model: ModelSpec, trials: Trials) -> list[Line]:
    """A smaller context, a smaller cache, a smaller variant, the smallest change first."""
    slots = sorted(trials.near, key=lambda slot: (-max(slot.rooms(margin_for(slot, trials.least)), default=0), slot.id))[:WIDEST]
    slots = [slot for slot in slots if not in_ram(slot, trials.least)]
    computed = [] if trials.least.vram is not None else [*_smaller_context(model, trials, slots), *_smaller_cache(model, trials, slots)]
    return [*computed, *_smaller_variant(model, trials, slots)]


def _smaller_context(model: ModelSpec, trials: Trials, slots: Sequence[EngineState]) -> list[Line]:
    known: Known = {}
    most = 0
    for slot in slots:
        rooms = slot.rooms(margin_for(slot, trials.least))
        with slot.knowledge.told_as_before(model.name):
            answer = fitted(slot.knowledge, slot, rooms, trials.least, trials.applied, AS_THE_ENGINE, ContextSearch(), known)
        context = None if answer is None or answer.found is None else answer.found.settings.context
        if context is not None and context > most and trials.fits(slot, replace(trials.least, context=context)):
            most = context
    if not most:
        return []
    text = f"its context is smaller: `context: {most}` under models.{model.name}"
    return [Line(text, setting(model.name, context=most))]


def _smaller_cache(model: ModelSpec, trials: Trials, slots: Sequence[EngineState]) -> list[Line]:
    """The start of an Ollama that would hold it: for others nobody computes what a type of the cache does."""
    if model.runs.kv_cache is not None or model.runs.flash_attention is False:
        return []
    for kind in (KvCache.Q8_0, KvCache.Q4_0):
        type_ = CACHE_TYPES[kind.value]
        for slot in (slot for slot in slots if slot.kind is EngineKind.OLLAMA):
            with slot.knowledge.told_as_before(model.name):
                slot.knowledge.ask(model.name, Asked(key_type=type_, value_type=type_, flash_attention=True))
                try:
                    holds = trials.fits(slot)
                except UnknownLayout:  # some architectures are run without flash attention whatever is asked
                    holds = False
            if holds:
                how = f'`env: {{OLLAMA_FLASH_ATTENTION: "1", OLLAMA_KV_CACHE_TYPE: {kind.value}}}`'
                return [Line(f"{slot.id} keeps a smaller cache: it is started with {how}, which stands at the engine in the inventory")]
    return []


def _smaller_variant(model: ModelSpec, trials: Trials, slots: Sequence[EngineState]) -> list[Line]:
    needs = [need.bytes for slot in slots if (need := need_on(slot, trials.least, trials.applied)) is not None]
    if model.variants or not needs:
        return []
    most = trials.most_that_fits(max(needs) - MIB, [slot for slot in slots if slot.kind is EngineKind.OLLAMA])
    if most is None or most * LEAST_PART < max(needs):
        return []
    how = f"`variants: [{model.name}, {{name: NAME, vram: {most // MIB}MiB}}]` under models.{model.name}"
    variants = (Variant(model.name), Variant("NAME", most))
    text = f"there is a variant of it that needs {format_bytes(most)} at most: {how}"
    return [Line(text, setting(model.name, variants=variants))]


def larger_card(model: ModelSpec, trials: Trials, wide: Limits) -> list[Line]:
    """The smallest usual card that would hold it with nothing else on it, on a node like one that it may use; of a model that is split so
    many of them."""
    best: tuple[int, EngineState] | None = None
    if model.each is not None or model.with_models:  # one more engine asks for one more replica, or stands beside nobody
        return []
    for slot in trials.near[:WIDEST]:
        sizes = [size for size in USUAL_CARDS if best is None or size < best[0]]
        size = next((size for size in sizes if _holds(slot, trials, wide, size * GIB)), None)
        if size is not None:
            best = size, slot
    if best is None:
        return []
    count = model.runs.split_cards
    cards = (
        f"is a card of {best[0]} GiB with nothing on it" if count is None else f"are {count} cards of {best[0]} GiB with nothing on them"
    )
    return [Line(f"there {cards}, at an engine like {best[1].id}")]


def _holds(slot: EngineState, trials: Trials, wide: Limits, size: int) -> bool:
    """Whether an engine like this one with one empty card of so many bytes (of a model that is split: so many of them) has a place for the
    model."""
    first = next((card.facts for card in slot.cards or () if card.facts is not None), None)
    if first is None or slot.facts is None:
        return False
    trials.placement.hint_looks_left -= 1
    name = slot.id.node
    every = range(trials.model.runs.split_cards or 1)
    declared = tuple(CardSpec(index, vram=size, compute_capability=first.compute_capability) for index in every)
    seen = tuple(CardFacts(index, None, first.name, size, None, 0, first.compute_capability, first.driver) for index in every)
    node = replace(slot.node, engines=(replace(slot.spec, gpus=None),), gpus=declared)
    engine = replace(slot.facts, residents=())
    facts = FleetFacts("", {name: NodeFacts(name, seen, None, {slot.id.engine: engine})})
    board = set_up(Fleet("", {name: node}), facts, wide, catalogue=slot.knowledge.catalogue)
    return isinstance(fit(board.slots[slot.id], trials.least, trials.applied), Fit)
