"""What an engine keeps free of its cards before it loads, and what it believes free there."""

from __future__ import annotations

from reconciler.capacity.cards import Card
from reconciler.capacity.engine_state import EngineState
from reconciler.fleet import ModelSpec, Residency


def is_fitted(slot: EngineState, model: ModelSpec) -> bool:
    """Whether this engine puts a part of `model` on the CPU where cards lack room, and nobody allowed it: with a number of layers asked for
    it tries just those (common/fit.cpp)."""
    allowed = model.residency is not Residency.GPU or model.min_gpu_fraction < 1.0
    return slot.rules.memory and not allowed and model.options.get("num_gpu") in (None, -1)


def margin_for(slot: EngineState, model: ModelSpec) -> int:
    """Bytes of a card that must be left over so that the engine puts no part of `model` on the CPU, as far as its settings say so."""
    margin = slot.rules.fit_margin
    return margin if margin is not None and is_fitted(slot, model) else 0


def believed_free(slot: EngineState) -> int:
    """Bytes that the engine believes free on all its cards together: their sizes less everybody that is charged there."""
    return sum([(card.total or 0) - card.foreign - card.held for card in slot.cards or ()])


def most_unused(slot: EngineState) -> int | None:
    """The most bytes of one of its cards that nobody holds, whatever of it may be used; None where no size is known."""
    return max([card.total - card.foreign - card.held for card in slot.cards or () if card.total is not None], default=None)


def unused_beside(slot: EngineState, takes: int) -> int:
    """The most bytes of one of its cards that nobody holds, once so many are taken of it."""
    return max(0, (most_unused(slot) or 0) - takes)


def free_where_unused(card: Card, unused: int) -> int:
    """Bytes of a card that must be free for so many of the whole card to be held by nobody."""
    beyond = 0 if card.total is None or card.usable is None else card.total - card.usable
    return max(0, unused - beyond)


def spare_beside(card: Card, takes: int, unused: int) -> int:
    """Bytes of a card that must be free beside those that are taken for so many of the whole card to be held by nobody before; all that may
    be had of it at most."""
    return max(0, min(free_where_unused(card, unused), card.capacity) - takes)
