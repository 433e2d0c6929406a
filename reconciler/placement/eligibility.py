"""Hard constraints that do not depend on how full a card is: each says no with a reason.

The answers are the same for all models that ask for the same things, so they are computed once for each such class of models.
"""

from __future__ import annotations

from collections.abc import Mapping

from reconciler.capacity import EngineState, Occupancy
from reconciler.fleet import EngineKind, ModelSpec, Requirements, Residency, RunOptions
from reconciler.value_class import value_class

NEVER_QUALIFIES = frozenset(
    {"engine_kind", "no_card", "compute_capability", "dtype", "driver", "labels", "card_too_small", "not_one_card",
     "no_kv_cache", "no_flash_attention", "no_parallel", "no_idle",
     "no_split", "split_cards", "split_slices"}
)  # fmt: skip
"""Reasons for which a candidate is *not applicable* to `each`, rather than unplaced."""

_DTYPE_SINCE: Mapping[str, tuple[int, int]] = {"float16": (5, 3), "bfloat16": (8, 0)}
"""First CUDA compute capability with native arithmetic of a type (CUDA C++ Programming Guide, arithmetic instructions)."""


@value_class
class ModelClass:
    """What makes two models have the same candidates: the nodes that `on` resolved to, and what they ask of an engine."""

    nodes: tuple[str, ...]
    engine: EngineKind | None
    requires: Requirements
    residency: Residency
    runs: RunOptions

    @classmethod
    def of(cls, model: ModelSpec) -> ModelClass:
        return cls(model.nodes, model.engine, model.requires, model.residency, model.runs)


@value_class
class Eligible:
    """Engines that a class of models may use, in name order, and the reason of each that it may not."""

    slots: tuple[EngineState, ...]
    refused: Mapping[EngineState, str]


def eligible(board: Occupancy, model: ModelSpec) -> Eligible:
    """Every engine of the model's nodes, sorted into usable ones and refused ones with a reason code."""
    yes: list[EngineState] = []
    no: dict[EngineState, str] = {}
    for node in model.nodes:
        for slot in board.by_node.get(node, ()):
            reason = refusal(slot, model)
            if reason is None:
                yes.append(slot)
            else:
                no[slot] = reason
    return Eligible(tuple(yes), no)


def refusal(slot: EngineState, model: ModelSpec) -> str | None:
    """Why `slot` can never serve a model with these demands; None when it can."""
    if (model.engine is not None and slot.kind is not model.engine) or not slot.kind.serves_models:
        return "engine_kind"
    if (lacks := model.runs.refused_by(slot.kind)) is not None:
        return f"no_{lacks}"
    requires = model.requires
    for key, value in requires.labels:
        if slot.node.labels.get(key) != value:
            return "labels"
    if model.residency is Residency.CPU:
        return None if slot.kind is EngineKind.OLLAMA or slot.cards == () else "engine_on_gpu"
    if slot.cards is None:
        return "cards_unknown"
    if not slot.cards:
        return "no_card" if model.residency is Residency.GPU else None
    if model.runs.split_cards not in (None, len(slot.cards)):
        return "split_cards"
    if model.is_split and slot.is_sliced:
        return "split_slices"
    sound = [card for card in slot.cards if not card.is_at_fault]
    if not sound and model.residency is Residency.GPU:
        return "card_fault"
    for card in sound:
        facts = card.facts
        if card.total is None:
            return "vram_unknown"
        if requires.vram is not None and card.total < requires.vram:
            return "card_too_small"
        capability = facts.compute_capability if facts is not None else None
        if requires.compute_capability is not None:
            if capability is None:
                return "compute_capability_unknown"
            if not requires.compute_capability.holds(capability):
                return "compute_capability"
        if requires.dtype is not None:
            if capability is None:
                return "compute_capability_unknown"
            if capability < _DTYPE_SINCE[requires.dtype]:
                return "dtype"
        if requires.driver is not None:
            driver = facts.driver if facts is not None else None
            if driver is None:
                return "driver_unknown"
            if not requires.driver.holds(driver):
                return "driver"
    return None
