"""What a model takes on one engine by term: what is computed of each, beside the need that counts there."""

from __future__ import annotations

from reconciler.fleet import Applied, EngineKind, ModelSpec
from reconciler.needs.engine import KnownEngine
from reconciler.needs.knowledge import Knowledge
from reconciler.needs.run_settings import in_ram, installed_on
from reconciler.value_class import value_class
from reconciler.vram import CardNeed, ListedShape, Need, RunSettings

NOTHING = CardNeed(0, 0, 0, 0, 0, 0, 0, 0)
"""A card beside a model that runs on the CPU."""


@value_class
class Terms:
    """Bytes of one model on one engine, as if one card held it.

    `source` says where `total` is from; `low` and `high` are its interval, None where nobody can tell one: a declared need and what a card
    was seen to lose are certain, file size × 1.2 and what people report say nothing of how far they are off. `card` are the terms
    as computed from the model's metadata, whatever counts (None: its metadata are not known), `weights` those of the file where nothing
    else is told.
    `listed` is the shape of the catalogue where the terms are of that; `counts` says whether the sum of the terms is what counts.
    `host` is what the node's RAM holds. `architecture`, `layers` and `settings` are what was computed with, `split` the cards of the engine
    if all of them share the model. `unknown` says in sentences what could not be computed.
    """

    source: str | None
    total: int | None
    low: int | None
    high: int | None
    card: CardNeed | None = None
    weights: int | None = None
    host: int | None = None
    architecture: str | None = None
    layers: int = 0
    settings: RunSettings | None = None
    split: tuple[CardNeed, ...] = ()
    unknown: tuple[str, ...] = ()
    listed: ListedShape | None = None
    counts: bool = False

    @property
    def predicted(self) -> int | None:
        """The sum of the computed terms."""
        return None if self.card is None else self.card.total


def terms_on(knowledge: Knowledge, slot: KnownEngine, model: ModelSpec, need: Need | None, applied: Applied) -> Terms:
    """The terms of `model` on this engine, where `need` counts."""
    found = knowledge.run(slot, model, applied)
    if found is None:
        installed = installed_on(slot, model)
        # Of a llama.cpp server the size is that of the tensors, of an Ollama that of all layers of the model.
        weights = installed.size_bytes if installed is not None and slot.kind is EngineKind.LLAMACPP else None
        return Terms(*_counted(knowledge, slot, need, None, applied), weights=weights)
    way, prediction = found
    card, ram = prediction.cards[0], in_ram(slot, model)
    held = prediction.host.total
    if ram:
        card, held = NOTHING, None if held is None else held + way.beside
    several = slot.cards is not None and len(slot.cards) > 1 and not ram
    split = knowledge.split(slot, model, applied) if several else None
    counts = need is not None and (
        need.source == "computed" or (need.source == "catalogue" and knowledge.listed(slot, model, applied) is not None)
    )
    unknown = prediction.unknown
    if way.beside:
        unknown = (*unknown, "of what is loaded beside it (projector, adapters) only the weights are told, not the compute buffer")
    return Terms(
        *_counted(knowledge, slot, need, card, applied, counts),
        card=card,
        host=held,
        architecture=way.geometry.architecture,
        layers=len(way.geometry.layers),
        settings=way.settings,
        split=() if split is None else split.cards,
        unknown=unknown,
        listed=way.listed,
        counts=counts,
    )


def _counted(
    knowledge: Knowledge, slot: KnownEngine, need: Need | None, card: CardNeed | None, applied: Applied, counts: bool = False
) -> tuple[str | None, int | None, int | None, int | None]:
    """Source, total, low and high end of the need that counts, on a card."""
    if need is None:
        return None, None, None, None
    if card is NOTHING:
        return need.source, 0, 0, 0
    if counts and card is not None:
        return need.source, card.total, card.low, card.high
    if need.reported is not None:
        return need.source, need.bytes, need.reported + knowledge.fixed(slot, applied)[0], need.bytes
    certain = need.bytes if need.source in ("declared", "measured") else None
    return need.source, need.bytes, certain, certain
