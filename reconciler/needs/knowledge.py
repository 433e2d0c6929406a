"""What is known of needs in one run: declared, measured, predicted for the way in which each engine runs a model, and the rest.

Private to one run and filled as it is asked. Pure: nothing is kept between runs.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterator
from contextlib import contextmanager

from reconciler.fleet import Answers, Applied, Installed, MeasuredKey, ModelSpec, header_key, weights_digest
from reconciler.needs.engine import KnownEngine
from reconciler.needs.fleet_files import FilesOfFleet
from reconciler.needs.run_settings import Way, Ways, asked_batch, asked_context, in_ram, installed_on
from reconciler.vram import (
    AS_THE_ENGINE,
    FIXED_START,
    NO_CATALOGUE,
    Asked,
    Catalogue,
    Need,
    Prediction,
    check_runnable,
    every_need,
    ram_bytes,
)


class Knowledge:
    """Needs by engine and model; `catalogue` is the last source of them. `ask` says how a model is to be run, if not as by its engine."""

    def __init__(self, catalogue: Catalogue = NO_CATALOGUE) -> None:
        self.catalogue = catalogue
        self._ways = Ways()
        self._declared: Answers[int, Need] = Answers(lambda size: Need(size, "declared"))
        self._needs: dict[Hashable, Need | None] = {}
        self._files = FilesOfFleet()

    def sees(self, slots: Collection[KnownEngine]) -> None:
        """The engines of the board, whose files tell of what others would pull."""
        self._files = FilesOfFleet(slots)

    def ask(self, model: str, asked: Asked) -> None:
        """From now on everything is told of `model` as if it were run so."""
        self._ways.asked[model] = asked
        self._needs.clear()

    @contextmanager
    def told_as_before(self, model: str) -> Iterator[None]:
        """Whatever is asked of `model` inside, after it all is told as it was before."""
        before = self._ways.asked.get(model)
        try:
            yield
        finally:
            if before is None:
                self._ways.asked.pop(model, None)
            else:
                self._ways.asked[model] = before
            self._needs.clear()

    def need(self, slot: KnownEngine, model: ModelSpec, applied: Applied) -> Need | None:
        """What `model` needs on this engine, from the first source that knows; None when none does."""
        if model.vram is not None:
            return self._declared[model.vram]
        about = self.about(slot, model, applied)
        if about not in self._needs:
            found = self.every(slot, model, applied)
            self._needs[about] = found[0] if found else None
        return self._needs[about]

    def every(self, slot: KnownEngine, model: ModelSpec, applied: Applied) -> tuple[Need, ...]:
        """What each source that knows says, the one that counts first."""
        installed = self._file(slot, model)
        size = installed.size_bytes if installed is not None else None
        measured, computed = self.measured(slot, model, applied), self.computed(slot, model, applied)
        listed = self.listed(slot, model, applied)
        return every_need(model, slot.kind, size, measured, computed, self.catalogue, listed)

    def measured(self, slot: KnownEngine, model: ModelSpec, applied: Applied) -> Need | None:
        """What loads of just this kind took, beside what the same is expected to take.

        An engine's own report leaves out what its process takes besides; where the cards were not seen that is added as it is for what is
        computed.
        """
        key = self.key(slot, model, applied) if applied.measured else None
        found = applied.measured.get(key) if key is not None else None
        if found is None:
            return None
        expected = self._expected(slot, model, applied)
        if found.card_bytes is not None:
            return Need(found.card_bytes, "measured", predicted=None if expected is None else expected + FIXED_START)
        if found.reported_bytes is None or self.report_falls_short(slot, model, applied):
            return None
        beside = self.fixed(slot, applied)[2]
        predicted = None if expected is None else expected + beside
        return Need(found.reported_bytes + beside, "measured", found.reported_bytes, beside, predicted)

    def report_falls_short(self, slot: KnownEngine, model: ModelSpec, applied: Applied) -> bool:
        """Whether the engine's report leaves out a part of this model: Ollama 0.34.0 counts one of the two caches of a model with sliding
        layers (it keeps the last `KV buffer size` line of a device; seen with Gemma 3)."""
        way = self._ways.of(slot, model, self._file(slot, model), applied)
        return way is not None and way.geometry.slides

    def key(self, slot: KnownEngine, model: ModelSpec, applied: Applied) -> MeasuredKey | None:
        """What a load of `model` on this engine is measured under; None where it is not to be on cards, or where nobody can tell how a
        load that is asked for otherwise would differ."""
        if in_ram(slot, model) or not slot.reachable:
            return None
        alike, installed = self._ways.alike.of(slot), self._file(slot, model)
        context, batch = self._ways.context(slot, model, installed, applied), asked_batch(model)
        blob = installed.blob if installed is not None else None
        weights = weights_digest(blob) if blob is not None else f"{slot.kind.value}:{model.base_name(slot.kind)}"
        server = alike.server
        way = self._ways.of(slot, model, installed, applied)
        asked = self._ways.asked.get(model.name, AS_THE_ENGINE)
        if asked != AS_THE_ENGINE and (way is None or asked.build is not None):
            return None
        batch = asked.ubatch or batch
        if server is None:
            run_as = model.runs
            cache = run_as.kv_cache or ""
            return MeasuredKey(weights, alike.build, alike.gpu, context, run_as.parallel or 0, cache, run_as.flash_attention, batch)
        if way is not None:
            run = way.settings
            if run.key_type != run.value_type:
                return None
            parallel = run.parallel or 0
            return MeasuredKey(weights, alike.build, alike.gpu, run.context, parallel, run.key_type.name, run.flash_attention, batch)
        slots = 1 if installed is not None and installed.embedding else server.parallel
        known = context if context is not None else server.context
        return MeasuredKey(weights, alike.build, alike.gpu, known, slots, server.cache, server.flash_attention, batch)

    def part(self, slot: KnownEngine, model: ModelSpec, applied: Applied) -> int | None:
        """The most bytes that a card of this engine holds of `model` spread over all of them; None where that is not computed."""
        if not slot.cards:
            return None
        split = self.split(slot, model, applied)
        highs = [] if split is None else [card.high for card in split.cards]
        return max((high for high in highs if high is not None), default=None) if None not in highs else None

    def cache(self, slot: KnownEngine, model: ModelSpec, applied: Applied, cards: int = 1) -> int | None:
        """The bytes of KV cache that `model` would hold on each of that many cards, the most on one; None where that is not computed."""
        found = self._ways.predicted(self.way(slot, model, applied, cards)) if cards else None
        each = [] if found is None else [card.kv for card in found.cards]
        return max((count for count in each if count is not None), default=None) if None not in each else None

    def split(self, slot: KnownEngine, model: ModelSpec, applied: Applied) -> Prediction | None:
        """The need of `model` spread over all cards of this engine; None where that is not computed."""
        cards = len(slot.cards or ())
        return self._ways.predicted(self.way(slot, model, applied, cards)) if cards else None

    def run(self, slot: KnownEngine, model: ModelSpec, applied: Applied) -> tuple[Way, Prediction] | None:
        """How this engine would run `model`, on one card or in RAM, and what that takes; None where header or settings are not known.

        UnknownLayout: llama.cpp would refuse to run it in the way that is asked for.
        """
        way = self.way(slot, model, applied, 0 if in_ram(slot, model) else 1)
        if way is not None and model.name in self._ways.asked:
            check_runnable(way.geometry, way.settings)
        prediction = self._ways.predicted(way)
        return None if way is None or prediction is None else (way, prediction)

    def way(self, slot: KnownEngine, model: ModelSpec, applied: Applied, cards: int) -> Way | None:
        """How this engine would run `model` on that many cards (0: in RAM), by the header of its file, or where no engine has the file by
        its shape in the catalogue."""
        installed = self._file(slot, model)
        if installed is not None:
            return self._ways.of(slot, model, installed, applied, cards)
        listed = self.catalogue.listed(slot.kind, model.base_name(slot.kind)) if slot.reachable else None
        return None if listed is None else self._ways.listed(slot, model, listed, applied, cards)

    def computed(self, slot: KnownEngine, model: ModelSpec, applied: Applied) -> int | None:
        """The upper end of what `predict` makes of the model's header on this engine; None where header or settings are not known."""
        found = self.run(slot, model, applied)
        return None if found is None or found[0].listed is not None else self._high(slot, model, *found)

    def listed(self, slot: KnownEngine, model: ModelSpec, applied: Applied) -> int | None:
        """The same by the model's shape in the catalogue, where no engine has its file, and either a way to run it is asked for or nobody
        reports a size: what people report says no context."""
        known = self.catalogue.model(slot.kind, model.base_name(slot.kind))
        if known is None or known.shape is None:
            return None
        if known.vram is not None and model.name not in self._ways.asked and not asked_context(slot, model):
            return None
        found = self.run(slot, model, applied)
        return None if found is None or found[0].listed is None else self._high(slot, model, *found)

    def _high(self, slot: KnownEngine, model: ModelSpec, way: Way, prediction: Prediction) -> int | None:
        if not in_ram(slot, model):
            return prediction.cards[0].high
        found = ram_bytes(prediction, way.settings, way.beside)
        return found if found is None or way.listed is None else found + way.listed.slack(prediction.host.weights)

    def fixed(self, slot: KnownEngine, applied: Applied) -> tuple[int, int, int]:
        """Low, expected and high end of what a process takes on a card of this engine beside what it reports."""
        return self._ways.fixed_on(self._ways.alike.of(slot), applied)

    def cells(self, slot: KnownEngine, model: ModelSpec, applied: Applied) -> int | None:
        """The cells of cache that this engine would ask for, context × parallel; None where header or context are not known."""
        way = self._ways.of(slot, model, self._file(slot, model), applied)
        return None if way is None else way.settings.requested

    def _file(self, slot: KnownEngine, model: ModelSpec) -> Installed | None:
        """The model's file on this engine, else the one that it would pull, as another Ollama of the fleet has it."""
        return installed_on(slot, model) or self._files.pulled(slot, model)

    def _expected(self, slot: KnownEngine, model: ModelSpec, applied: Applied) -> int | None:
        """What the model itself is expected to take on a card, without the process: what an engine reports."""
        installed = self._file(slot, model)
        prediction = self._ways.predicted(self._ways.of(slot, model, installed, applied))
        card = prediction.cards[0] if prediction is not None else None
        return None if card is None or card.total is None else card.total - card.fixed

    def about(self, slot: KnownEngine, model: ModelSpec, applied: Applied) -> Hashable:
        """All that a need depends on, apart from what is the same in the whole run."""
        installed = self._file(slot, model)
        file = None
        if installed is not None:
            told = installed.header is not None
            file = (header_key(installed), installed.size_bytes, installed.beside_bytes, installed.embedding, told)
        context, alike = self._ways.context(slot, model, installed, applied), self._ways.alike.of(slot)
        return id(alike), model.name, model.variant, file, context, in_ram(slot, model), slot.reachable
