"""Which engines could hold one model as the fleet stands: nothing is moved for it, nothing else is placed."""

from __future__ import annotations

from dataclasses import dataclass, replace

from reconciler.fleet import Applied, Desired, EngineKind, Fleet, FleetFacts, ModelSpec
from reconciler.placement.board import Card, Slot, set_up
from reconciler.placement.eligibility import refusal
from reconciler.placement.explain import in_words, reason_at
from reconciler.placement.fit import Fit, fit
from reconciler.placement.found import Names, charge_found
from reconciler.placement.knowledge import installed_on
from reconciler.vram import NO_CATALOGUE, Catalogue, Need, every_need


@dataclass(frozen=True, slots=True)
class Candidate:
    """One engine's answer. `model` is what it is about: of a model with variants the first that is there or fits, else the last.

    `code` is `fits`, `resident` or the reason why not, `message` the same in words (empty where it fits). `needs` is what every source
    that knows says, the one that counts first; `cards` are those of the engine, charged with what is there.
    """

    slot: Slot
    code: str
    message: str
    needs: tuple[Need, ...]
    cards: tuple[Card, ...]
    model: ModelSpec


def candidates(
    fleet: Fleet, desired: Desired, facts: FleetFacts, applied: Applied, model: ModelSpec, catalogue: Catalogue = NO_CATALOGUE
) -> tuple[Candidate, ...]:
    """The answer of every engine of the model's nodes, in order of their names."""
    board = set_up(fleet, facts, desired.limits, catalogue=catalogue)
    models = [one for one in desired.wanted if one.name != model.name]
    found = charge_found(board, replace(desired, models=(*models, model)), applied, Names([*models, model]))
    here = {one.slot: each for one in found for each in (one.model, *one.also) if each is not None and each.name == model.name}
    slots = [slot for node in sorted(model.nodes) for slot in board.by_node.get(node, ())]
    variants = model.alternatives()
    answers = []
    for slot in sorted(slots, key=lambda slot: slot.id):
        resident = here.get(slot)
        tried = [_candidate(slot, one, applied, one == resident) for one in ((resident,) if resident is not None else variants)]
        answers.append(next((one for one in tried if one.code in ("fits", "resident")), tried[-1]))
    return tuple(answers)


def _candidate(slot: Slot, model: ModelSpec, applied: Applied, resident: bool) -> Candidate:
    needs = slot.knowledge.every(slot, model, applied)
    cards = slot.cards or ()
    if resident:
        return Candidate(slot, "resident", "is there already", needs, cards, model)
    known = replace(model, vram=needs[0].bytes) if needs else model
    if refusal(slot, known) is None and isinstance(fit(slot, known, applied), Fit):
        return Candidate(slot, "fits", "", needs, cards, model)
    code = reason_at(slot, known, applied)
    return Candidate(slot, code, in_words(code, slot, known, applied), needs, cards, model)


@dataclass(frozen=True, slots=True)
class ModelNeeds:
    """What is known of one wanted model, or one of its variants, on one kind of engine, over all engines of that kind where it may go: the
    largest of each source, the source that counts first. `engines` counts those engines, `installed` the ones that have the file."""

    model: ModelSpec
    kind: EngineKind
    engines: int
    installed: int
    needs: tuple[Need, ...]


def model_needs(
    fleet: Fleet, desired: Desired, facts: FleetFacts, applied: Applied, catalogue: Catalogue = NO_CATALOGUE
) -> tuple[ModelNeeds, ...]:
    """Every wanted model by name, with each kind of engine of its nodes that can be meant."""
    board = set_up(fleet, facts, desired.limits, catalogue=catalogue)
    rows: list[ModelNeeds] = []
    for model in sorted(desired.wanted, key=lambda one: one.name):
        by_kind: dict[EngineKind, list[Slot]] = {}
        for node in model.nodes:
            for slot in board.by_node.get(node, ()):
                if model.engine is None or slot.kind is model.engine:
                    by_kind.setdefault(slot.kind, []).append(slot)
        for kind, slots in sorted(by_kind.items()):
            for one in model.alternatives():
                sizes = [file.size_bytes for slot in slots if (file := installed_on(slot, one)) is not None]
                largest = max((size for size in sizes if size is not None), default=None)
                computed = [count for slot in slots if (count := slot.knowledge.computed(slot, one, applied)) is not None]
                measured = [need for slot in slots if (need := slot.knowledge.measured(slot, one, applied)) is not None]
                most = max(measured, key=lambda need: need.bytes, default=None)
                needs = every_need(one, kind, largest, most, max(computed, default=None), catalogue)
                rows.append(ModelNeeds(one, kind, len(slots), len(sizes), needs))
    return tuple(rows)
