"""The largest context, or the most requests at a time, with which an engine could hold a model: by arithmetic, with what is free there."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import replace

from reconciler.fleet import Applied, ModelSpec
from reconciler.needs.engine import KnownEngine
from reconciler.needs.knowledge import Knowledge
from reconciler.needs.run_settings import in_ram
from reconciler.value_class import value_class
from reconciler.vram import (
    MOST_PARALLEL,
    Asked,
    Largest,
    Prediction,
    RunSettings,
    UnknownLayout,
    context_at,
    largest,
    steps_of,
)


@value_class
class ContextSearch:
    """What is searched for: the most requests at a time, else the largest context. `room` is what a card may give, None: what is free."""

    requests: bool = False
    room: int | None = None


@value_class
class Fitted:
    """What fits into `room` bytes of a card, or of each of `cards` that share the model.

    `found` is the largest whose upper end fits, which is what a plan reserves (None: not even the smallest); `expected` the context, or the
    number of requests, of the largest whose sum of terms does.
    """

    search: ContextSearch
    room: int
    cards: int
    found: Largest | None
    expected: int | None

    def asked(self, model: ModelSpec, asked: Asked) -> tuple[ModelSpec, Asked]:
        """The model and the way to run it that were found; where nothing fits, the smallest that was tried."""
        if self.search.requests:
            return model, replace(asked, parallel=1 if self.found is None else self.found.settings.parallel)
        context = context_at(1, 2**32) if self.found is None else self.found.settings.context
        return replace(model, context=context), asked


Known = dict[Hashable, Fitted | None]
"""What was searched for already in one question: engines that are alike and have the same room share an answer."""


def fitted(
    knowledge: Knowledge,
    slot: KnownEngine,
    rooms: Sequence[int],
    model: ModelSpec,
    applied: Applied,
    asked: Asked,
    search: ContextSearch,
    known: Known,
) -> Fitted | None:
    """None where it is not computed: on the CPU, or where nobody tells the model's layers. `rooms` are the free bytes of the engine's cards
    whose size is known; of several cards one that holds it alone comes first, then all of them together."""
    if in_ram(slot, model) or (not rooms and search.room is None):
        return None
    room = search.room if search.room is not None else max(rooms)
    one = _once(knowledge, slot, model, applied, asked, search, room, 1, known)
    if one is None or one.found is not None or search.room is not None or len(rooms) < 2 or len(rooms) < len(slot.cards or ()):
        return one
    shared = _once(knowledge, slot, model, applied, asked, search, min(rooms), len(rooms), known)
    return shared if shared is not None and shared.found is not None else one


def _once(
    knowledge: Knowledge,
    slot: KnownEngine,
    model: ModelSpec,
    applied: Applied,
    asked: Asked,
    search: ContextSearch,
    room: int,
    cards: int,
    known: Known,
) -> Fitted | None:
    key = (knowledge.about(slot, model, applied), room, cards)
    if key not in known:
        known[key] = _fitted(knowledge, slot, model, applied, asked, search, room, cards)
    return known[key]


def _fitted(
    knowledge: Knowledge, slot: KnownEngine, model: ModelSpec, applied: Applied, asked: Asked, search: ContextSearch, room: int, cards: int
) -> Fitted | None:
    smallest = knowledge.run(slot, replace(model, context=context_at(1, 2**32)), applied)
    if smallest is None:
        return None
    trained = smallest[0].geometry.context

    def attempt(step: int) -> tuple[RunSettings, Prediction]:
        one = model if search.requests else replace(model, context=context_at(step, trained))
        knowledge.ask(model.name, replace(asked, parallel=step) if search.requests else asked)
        way = knowledge.way(slot, one, applied, cards)
        found = knowledge.split(slot, one, applied) if cards > 1 else _of(knowledge.run(slot, one, applied))
        if way is None or found is None:
            raise UnknownLayout.of("what fits cannot be computed", hint="say vram: for the model")
        return way.settings, found

    most = MOST_PARALLEL if search.requests else steps_of(trained)
    try:
        sure, likely = largest(most, attempt, room, upper=True), largest(most, attempt, room)
    except UnknownLayout:
        return None
    finally:
        knowledge.ask(model.name, asked)
    expected = None if likely is None else (likely.settings.parallel if search.requests else likely.settings.context)
    return Fitted(search, room, cards, sure, expected)


def _of(found: tuple[object, Prediction] | None) -> Prediction | None:
    return None if found is None else found[1]
