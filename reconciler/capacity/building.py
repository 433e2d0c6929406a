"""The board of a fleet, made from what is declared and what was probed: what each card may hold, and which cards each engine has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from reconciler.capacity.cards import RAM_INDEX, Card
from reconciler.capacity.engine_state import EngineState
from reconciler.capacity.occupancy import Occupancy
from reconciler.fleet import (
    DEFAULT_LIMITS,
    CardFacts,
    CardSpec,
    EngineId,
    EngineSpec,
    Fleet,
    FleetFacts,
    FleetWeights,
    Limits,
)
from reconciler.needs.knowledge import Knowledge
from reconciler.vram import NO_CATALOGUE, Catalogue


def usable_bytes(total: int, limits: Limits) -> int:
    """`floor(min(total × max_vram_utilization, total × vram_safety_margin, total − reserve))` over those that are set, never below 0."""
    bounds = [total]
    for ratio in (limits.max_vram_utilization, limits.vram_safety_margin):
        if ratio is not None:
            bounds.append(total * ratio.numerator // ratio.denominator)
    if limits.reserve is not None:
        bounds.append(total - limits.reserve)
    return max(0, min(bounds))


def set_up(
    fleet: Fleet,
    facts: FleetFacts,
    wide: Limits,
    selected: frozenset[str] | None = None,
    catalogue: Catalogue = NO_CATALOGUE,
    assumes_foreign: bool = True,
) -> Occupancy:
    """The board for a fleet: cards as probed, limits as declared (card over node over `wide` over the defaults).

    Nodes outside `selected` (None: all are in) stay on the board with what they hold, but nothing may be placed there. `catalogue` is the
    last source of needs, and of what a card of a name that it lists can reckon in. `assumes_foreign` False: nothing is added to a
    card whose own use nobody can read.
    """
    knowledge = Knowledge(catalogue)
    slots: dict[EngineId, EngineState] = {}
    every: list[Card] = []
    by_node: dict[str, tuple[EngineState, ...]] = {}
    base = wide.over(DEFAULT_LIMITS)
    merged: dict[Limits, Limits] = {}
    elsewhere = FleetWeights(engine for seen in facts.nodes.values() for engine in seen.engines.values())
    for name, node in fleet.nodes.items():
        seen = facts.nodes.get(name)
        limits = merged.get(node.limits)
        if limits is None:
            limits = merged[node.limits] = node.limits.over(base)
        known = seen.cards if seen is not None else None
        declared = node.gpus or ()
        cards = (
            None
            if known is None
            else tuple(_card(name, card, card.declared_in(declared), limits, catalogue, assumes_foreign) for card in known)
        )
        ram_total = node.ram if seen is None or seen.ram_bytes is None else seen.ram_bytes
        ram_usable = None if ram_total is None else max(0, ram_total - (limits.ram_reserve or 0))
        ram = Card(name, RAM_INDEX, ram_total, ram_usable, 0, True)
        every.extend(cards or ())
        inside = selected is None or name in selected
        here = []
        for spec in node.engines:
            own = None if cards is None else _cards_of(spec, cards)
            engine_facts = seen.engines.get(spec.id.engine) if seen is not None else None
            slot = EngineState(spec.id, spec.kind, spec, node, engine_facts, own, ram, inside, knowledge=knowledge, elsewhere=elsewhere)
            slots[spec.id] = slot
            here.append(slot)
        _reserve_shares(here)
        by_node[name] = tuple(here)
    knowledge.sees(slots.values())
    return Occupancy(slots, tuple(every), by_node, weights=elsewhere)


def _reserve_shares(slots: Sequence[EngineState]) -> None:
    """Leaves what is only looked at its declared share of each of its cards. Where a card's use is read, what those that are up hold is
    part of what is foreign there, so the larger of both counts; one that is down gets its share back when it returns."""
    up: dict[Card, int] = {}
    down: dict[Card, int] = {}
    for slot in slots:
        if slot.spec.share is not None:
            for card in slot.cards or ():
                sums = up if slot.reachable and not card.assumed else down
                sums[card] = sums.get(card, 0) + slot.spec.share
    for card in {**up, **down}:
        card.foreign = max(card.foreign, up.get(card, 0)) + down.get(card, 0)


def _known(seen: CardFacts, catalogue: Catalogue) -> CardFacts:
    """A card whose compute capability nobody tells, with that of its model in the catalogue. Its size is never taken from there."""
    listed = catalogue.gpu(seen.name) if seen.compute_capability is None and seen.name is not None else None
    if listed is None:
        return seen
    return replace(seen, compute_capability=listed.compute_capability, float16=listed.float16, bfloat16=listed.bfloat16)


def _card(node: str, found: CardFacts, declared: CardSpec | None, limits: Limits, catalogue: Catalogue, assumes_foreign: bool) -> Card:
    seen = _known(found, catalogue)
    if declared is not None:
        limits = declared.limits.over(limits)
    closed = seen.assumed and not assumes_foreign
    usable = None if seen.total_bytes is None or seen.fault is not None or closed else usable_bytes(seen.total_bytes, limits)
    if usable is not None and seen.total_bytes is not None and seen.reserved_bytes is not None:
        usable = max(0, min(usable, seen.total_bytes - seen.reserved_bytes))
    foreign = seen.foreign_bytes or 0
    if declared is not None and (seen.foreign_bytes is None or seen.assumed):
        foreign = max(foreign, declared.foreign)  # what is seen of a use that is not known whole is its least
    most, part = limits.max_agents_per_gpu, limits.kv_cache_fraction
    cache = None if part is None or seen.total_bytes is None else seen.total_bytes * part.numerator // part.denominator
    return Card(
        node, seen.index, seen.total_bytes, usable, foreign, seen.assumed, facts=seen, most_agents=most, is_closed=closed, most_cache=cache
    )


def _cards_of(spec: EngineSpec, cards: tuple[Card, ...]) -> tuple[Card, ...]:
    return tuple(card for card in cards if card.facts is None or card.facts.is_named_in(spec.gpus))
