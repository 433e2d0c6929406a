"""The engine's own rules, asked once more right before a load: what was pulled meanwhile has a size now, and others may have come."""

from __future__ import annotations

import math
from collections.abc import Sequence

from reconciler.admission import FIT_TARGET, CardSeen, EngineResident, ModelToLoad, admit, rules_of
from reconciler.capacity.seen import without_foreign
from reconciler.execution.lookup import find_installed, find_resident
from reconciler.fleet import EngineFacts, EngineKind, EngineSpec, ModelSpec, Residency
from reconciler.planning import CardBalance, ModelStep


def refusing(step: ModelStep, model: ModelSpec | None, spec: EngineSpec, cards: Sequence[CardBalance], facts: EngineFacts) -> str | None:
    """Who the engine would evict for this load, or that it would put a part of it on the CPU, by what it shows now, as a sentence; None
    where that is not certain.

    `cards` are those of the node; the engine's are taken together, and of the model only its file counts: a load is held back only where
    even the sum of the cards is too little for that.
    """
    if spec.gpus is not None:
        if not {card.gpu for card in cards}.issuperset(spec.gpus):
            return None  # named in another way than the plan names its cards
        cards = [card for card in cards if card.gpu in spec.gpus]
    if spec.kind is not EngineKind.OLLAMA or model is None or any(card.total_bytes is None for card in cards):
        return None
    own = find_resident(facts, step.engine_name)
    there = [resident for resident in facts.residents or () if resident is not own]
    rules = rules_of(spec.kind, facts.build, spec.env, len(cards), facts.max_residents, len(there))
    if not rules.memory:
        return None
    seats = [
        EngineResident(one.name, ((0, one.vram_bytes or 0),), math.inf if one.pinned else one.expires_in, one.blob or one.name)
        for one in there
    ]
    free = without_foreign((card.total_bytes, card.foreign_bytes) for card in cards)
    verdict = admit(_load(step, model, facts), seats, [CardSeen(0, free)] if cards else [], rules)
    if not verdict.evicts:
        if not verdict.spills or len(cards) != 1:
            return None
        return f"{spec.id} would put a part of it on the CPU by its own rules ({FIT_TARGET})"
    return f"{spec.id} would evict {', '.join(verdict.evicts)} for it by its own rules"


def _load(step: ModelStep, model: ModelSpec, facts: EngineFacts) -> ModelToLoad:
    installed = find_installed(facts, step.engine_name)
    layers = model.options.get("num_gpu")
    cpu = model.residency is Residency.CPU or layers == 0
    if installed is None or installed.size_bytes is None or (isinstance(layers, int) and layers > 0):
        return ModelToLoad(cpu=cpu)
    fitted = model.residency is Residency.GPU and model.min_gpu_fraction >= 1.0
    need = step.vram_bytes if fitted else None
    return ModelToLoad(installed.size_bytes - installed.beside_bytes, embedding=installed.embedding is True, need=need, cpu=cpu)
