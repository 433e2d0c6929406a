"""Which engines could hold one model as the fleet stands: nothing is moved for it, nothing else is placed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from reconciler.capacity import Card, EngineState, Occupancy, margin_for, set_up
from reconciler.fleet import Applied, Desired, EngineKind, Fleet, FleetFacts, ModelSpec, WantedNames
from reconciler.needs.context_search import ContextSearch, Fitted, Known, fitted
from reconciler.needs.run_settings import installed_on
from reconciler.needs.terms import Terms, terms_on
from reconciler.placement.eligibility import refusal
from reconciler.placement.explain import in_words
from reconciler.placement.fit import Fit, fit
from reconciler.placement.reasons import reason_at
from reconciler.placement.residents import Occupant, charge_found
from reconciler.value_class import value_class
from reconciler.vram import AS_THE_ENGINE, NO_CATALOGUE, Asked, Catalogue, Need, every_need


@value_class
class EngineAnswer:
    """One engine's answer. `model` is what it is about: of a model with variants the first that is there or fits, else the last.

    `code` is `fits`, `resident` or the reason why not, `message` the same in words (empty where it fits). `needs` is what every source
    that knows says, the one that counts first, `terms` what the model takes there by term; `cards` are those of the engine, charged with
    what is there. `fitted` is the largest way to run it that fits, where that was asked: all the rest is then of that.
    """

    slot: EngineState
    code: str
    message: str
    needs: tuple[Need, ...]
    terms: Terms
    cards: tuple[Card, ...]
    model: ModelSpec
    fitted: Fitted | None = None

    @property
    def fits(self) -> bool:
        """Whether it is there, or could be."""
        return self.code in ("fits", "resident")


@value_class
class Question:
    """Of which model it is asked where it fits, and in which way it is to run there; `context` None: as it is wanted. `search`: by the
    largest context, or the most requests, that fits on each engine."""

    model: ModelSpec
    context: int | None = None
    asked: Asked = AS_THE_ENGINE
    search: ContextSearch | None = None

    @property
    def otherwise(self) -> bool:
        """Whether that may be another way than the one in which it runs where it is resident."""
        return self.search is not None or self.asked != AS_THE_ENGINE or (self.context is not None and self.context != self.model.context)

    def as_asked(self, model: ModelSpec) -> ModelSpec:
        return model if self.context is None else replace(model, context=self.context)


def candidates(
    fleet: Fleet, desired: Desired, facts: FleetFacts, applied: Applied, question: Question, catalogue: Catalogue = NO_CATALOGUE
) -> tuple[EngineAnswer, ...]:
    """The answer of every engine of the model's nodes, in order of their names. Where it is resident and asked for in another way, its
    room is counted as free: it would be loaded again."""
    model = question.model
    board = set_up(fleet, facts, desired.limits, catalogue=catalogue, assumes_foreign=desired.policy.assumes_foreign)
    models = [one for one in desired.wanted if one.name != model.name]
    found = charge_found(board, replace(desired, models=(*models, model)), applied, WantedNames([*models, model]))
    here = {one.slot: (one, each) for one in found for each in (one.model, *one.also) if each is not None and each.name == model.name}
    if question.asked != AS_THE_ENGINE:
        for knowledge in {id(slot.knowledge): slot.knowledge for slot in board}.values():
            knowledge.ask(model.name, question.asked)
    slots = [slot for node in sorted(model.nodes) for slot in board.by_node.get(node, ())]
    variants = model.alternatives()
    answers = []
    known: Known = {}
    for slot in sorted(slots, key=lambda slot: slot.id):
        resident = here.get(slot)
        tried = [
            _candidate(board, slot, one, applied, question, resident, known) for one in (variants if resident is None else (resident[1],))
        ]
        answers.append(next((one for one in tried if one.fits), tried[-1]))
    return tuple(answers)


def best(found: Sequence[EngineAnswer]) -> EngineAnswer | None:
    """The answer that stands for all: where the model is, else where it fits, its best variant and the emptiest cards first, else one that
    tells its terms."""
    if not found:
        return None

    def order(one: EngineAnswer) -> tuple[bool, bool, int, bool, float]:
        variants = [variant.name for variant in one.model.variants]
        rank = variants.index(one.model.variant) if one.model.variant in variants else 0
        return one.code != "resident", not one.fits, rank, one.terms.predicted is None, one.slot.used_fraction

    return min(found, key=order)


def _candidate(
    board: Occupancy,
    slot: EngineState,
    model: ModelSpec,
    applied: Applied,
    question: Question,
    resident: tuple[Occupant, ModelSpec] | None,
    known: Known,
) -> EngineAnswer:
    model = question.as_asked(model)
    if resident is not None and not question.otherwise:
        needs = slot.knowledge.every(slot, model, applied)
        return EngineAnswer(slot, "resident", "is there already", needs, _terms(slot, model, applied, needs), slot.cards or (), model)
    try:
        with board.trial():
            if resident is not None:
                board.remove(resident[0])
            return _free(slot, model, applied, question, known, "" if resident is None else "in place of what is there")
    finally:
        if question.search is not None:
            slot.knowledge.ask(model.name, question.asked)


def _free(slot: EngineState, model: ModelSpec, applied: Applied, question: Question, known: Known, where: str) -> EngineAnswer:
    """The answer of an engine that does not hold the model, or of which its bytes were taken off. `where` are the words if it fits."""
    most = None
    if question.search is not None:
        rooms = slot.rooms(margin_for(slot, model))
        most = fitted(slot.knowledge, slot, rooms, model, applied, question.asked, question.search, known)
        if most is not None:
            model, asked = most.asked(model, question.asked)
            slot.knowledge.ask(model.name, asked)
    needs = slot.knowledge.every(slot, model, applied)
    terms = _terms(slot, model, applied, needs)
    cards = slot.cards or ()
    given = question.search is not None and question.search.room is not None and most is not None
    if refusal(slot, model) is None and (given or isinstance(fit(slot, model, applied), Fit)):
        found = most is None or most.found is not None
        return EngineAnswer(slot, "fits" if found else "insufficient_vram", where if found else "", needs, terms, cards, model, most)
    code = reason_at(slot, model, applied)
    return EngineAnswer(slot, code, in_words(code, slot, model, applied), needs, terms, cards, model, most)


def _terms(slot: EngineState, model: ModelSpec, applied: Applied, needs: Sequence[Need]) -> Terms:
    return terms_on(slot.knowledge, slot, model, needs[0] if needs else None, applied)


@value_class
class ModelNeeds:
    """What is known of one wanted model, or one of its variants, on one kind of engine, over all engines of that kind where it may go: the
    largest of each source, the source that counts first. `engines` counts those engines, `installed` the ones that have the file, and
    `elsewhere` those of them where its name leads to a cloud, so that it takes no memory."""

    model: ModelSpec
    kind: EngineKind
    engines: int
    installed: int
    needs: tuple[Need, ...]
    elsewhere: int = 0


def model_needs(
    fleet: Fleet, desired: Desired, facts: FleetFacts, applied: Applied, catalogue: Catalogue = NO_CATALOGUE
) -> tuple[ModelNeeds, ...]:
    """Every wanted model by name, with each kind of engine of its nodes that can be meant."""
    board = set_up(fleet, facts, desired.limits, catalogue=catalogue, assumes_foreign=desired.policy.assumes_foreign)
    rows: list[ModelNeeds] = []
    for model in sorted(desired.wanted, key=lambda one: one.name):
        by_kind: dict[EngineKind, list[EngineState]] = {}
        for node in model.nodes:
            for slot in board.by_node.get(node, ()):
                if model.engine is None or slot.kind is model.engine:
                    by_kind.setdefault(slot.kind, []).append(slot)
        for kind, slots in sorted(by_kind.items()):
            for one in model.alternatives():
                files = [file for slot in slots if (file := installed_on(slot, one)) is not None]
                largest = max((file.size_bytes for file in files if file.size_bytes is not None), default=None)
                computed = [count for slot in slots if (count := slot.knowledge.computed(slot, one, applied)) is not None]
                measured = [need for slot in slots if (need := slot.knowledge.measured(slot, one, applied)) is not None]
                most = max(measured, key=lambda need: need.bytes, default=None)
                listed = [count for slot in slots if (count := slot.knowledge.listed(slot, one, applied)) is not None]
                shown = max(listed, default=None)
                needs = every_need(one, kind, largest, most, max(computed, default=None), catalogue, shown)
                elsewhere = sum(1 for file in files if file.remote is not None)
                rows.append(ModelNeeds(one, kind, len(slots), len(files), needs, elsewhere))
    return tuple(rows)
