"""What is known of needs in one run: what was measured, and every prediction once for all engines that are alike.

Private to one run and filled as it is asked, so that a fleet of 10,000 alike nodes costs one prediction a model. Pure: nothing is kept
between runs.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reconciler.fleet import (
    EngineId,
    Installed,
    MeasuredKey,
    ModelHeader,
    ModelSpec,
    Residency,
    header_key,
    weights_digest,
)
from reconciler.placement.alike import Alike, AlikeEngines
from reconciler.vram import (
    FIXED_START,
    NO_CATALOGUE,
    Catalogue,
    Geometry,
    Need,
    Prediction,
    RunSettings,
    UnknownLayout,
    every_need,
    fixed_of,
    geometry_of,
    header_of_fact,
    ollama_settings,
    predict,
    ram_bytes,
)

if TYPE_CHECKING:
    from reconciler.fleet import Applied
    from reconciler.placement.board import Slot


@dataclass(frozen=True, slots=True)
class _Way:
    """How a server would run a model: its geometry and its settings, what is loaded beside it, and what its process takes on a card."""

    geometry: Geometry
    settings: RunSettings
    beside: int
    fixed: tuple[int, int, int]


class Knowledge:
    """Needs by engine and model; `catalogue` is the last source of them."""

    def __init__(self, catalogue: Catalogue = NO_CATALOGUE) -> None:
        self.catalogue = catalogue
        self._alike = AlikeEngines()
        self._geometries: dict[str, Geometry | None] = {}
        self._predictions: dict[Hashable, Prediction | None] = {}
        self._needs: dict[Hashable, Need | None] = {}
        self._observed: dict[tuple[EngineId, str], int] | None = None
        self._fixed: dict[tuple[str, str], tuple[int, ...]] | None = None

    def need(self, slot: Slot, model: ModelSpec, applied: Applied) -> Need | None:
        """What `model` needs on this engine, from the first source that knows; None when none does."""
        if model.vram is not None:
            return Need(model.vram, "declared")
        about = self._about(slot, model, applied)
        if about not in self._needs:
            found = self.every(slot, model, applied)
            self._needs[about] = found[0] if found else None
        return self._needs[about]

    def every(self, slot: Slot, model: ModelSpec, applied: Applied) -> tuple[Need, ...]:
        """What each source that knows says, the one that counts first."""
        installed = installed_on(slot, model)
        size = installed.size_bytes if installed is not None else None
        measured, computed = self.measured(slot, model, applied), self.computed(slot, model, applied)
        return every_need(model, slot.kind, size, measured, computed, self.catalogue)

    def measured(self, slot: Slot, model: ModelSpec, applied: Applied) -> Need | None:
        """What loads of just this kind took, beside what the same is expected to take.

        An engine's own report leaves out what its process takes besides; where the cards were not seen that is added as it is for what is
        computed.
        """
        key = self.key(slot, model, applied) if applied.measured else None
        found = applied.measured.get(key) if key is not None else None
        if found is None:
            return None
        alike = self._alike.of(slot)
        expected = self._expected(slot, model, applied)
        if found.card_bytes is not None:
            whole = None if expected is None else expected + FIXED_START
            return Need(found.card_bytes, "measured", found.card_bytes, whole)
        if found.reported_bytes is None or self.report_falls_short(slot, model, applied):
            return None
        beside = self._fixed_on(alike, applied)[2]
        return Need(found.reported_bytes + beside, "measured", found.reported_bytes, expected)

    def report_falls_short(self, slot: Slot, model: ModelSpec, applied: Applied) -> bool:
        """Whether the engine's report leaves out a part of this model: Ollama 0.34.0 counts one of the two caches of a model with sliding
        layers (it keeps the last `KV buffer size` line of a device; seen with Gemma 3)."""
        installed = installed_on(slot, model)
        way = self._way(slot, model, installed, applied) if installed is not None else None
        return way is not None and way.geometry.slides

    def key(self, slot: Slot, model: ModelSpec, applied: Applied) -> MeasuredKey | None:
        """What a load of `model` on this engine is measured under; None where it is not to be on cards."""
        if in_ram(slot, model) or not slot.reachable:
            return None
        alike, installed = self._alike.of(slot), installed_on(slot, model)
        context, batch = self._context(slot, model, installed, applied), _count(model.options.get("num_batch"))
        blob = installed.blob if installed is not None else None
        weights = weights_digest(blob) if blob is not None else f"{slot.kind.value}:{model.base_name(slot.kind)}"
        server = alike.server
        if server is None:
            return MeasuredKey(weights, alike.build, alike.gpu, context, batch=batch)
        way = self._way(slot, model, installed, applied) if installed is not None else None
        if way is not None:
            run = way.settings
            parallel = run.parallel or 0
            return MeasuredKey(weights, alike.build, alike.gpu, run.context, parallel, run.key_type.name, run.flash_attention, batch)
        slots = 1 if installed is not None and installed.embedding else server.parallel
        known = context if context is not None else server.context
        return MeasuredKey(weights, alike.build, alike.gpu, known, slots, server.cache, server.flash_attention, batch)

    def part(self, slot: Slot, model: ModelSpec, applied: Applied) -> int | None:
        """The most bytes that a card of this engine holds of `model` spread over all of them; None where that is not computed."""
        installed = installed_on(slot, model)
        if installed is None or not slot.cards:
            return None
        prediction = self._predicted(installed, self._way(slot, model, installed, applied, len(slot.cards)))
        highs = [] if prediction is None else [card.high for card in prediction.cards]
        return max((high for high in highs if high is not None), default=None) if None not in highs else None

    def computed(self, slot: Slot, model: ModelSpec, applied: Applied) -> int | None:
        """The upper end of what `predict` makes of the model's header on this engine; None where header or settings are not known."""
        installed, ram = installed_on(slot, model), in_ram(slot, model)
        way = None if installed is None else self._way(slot, model, installed, applied, 0 if ram else 1)
        prediction = None if installed is None else self._predicted(installed, way)
        if way is None or prediction is None:
            return None
        return ram_bytes(prediction, way.settings, way.beside) if ram else prediction.cards[0].high

    def cells(self, slot: Slot, model: ModelSpec, applied: Applied) -> int | None:
        """The cells of cache that this engine would ask for, context × parallel; None where header or context are not known."""
        installed = installed_on(slot, model)
        way = None if installed is None else self._way(slot, model, installed, applied)
        return None if way is None else way.settings.requested

    def _expected(self, slot: Slot, model: ModelSpec, applied: Applied) -> int | None:
        """What the model itself is expected to take on a card, without the process: what an engine reports."""
        installed = installed_on(slot, model)
        prediction = None if installed is None else self._predicted(installed, self._way(slot, model, installed, applied))
        card = prediction.cards[0] if prediction is not None else None
        return None if card is None or card.total is None else card.total - card.fixed

    def _about(self, slot: Slot, model: ModelSpec, applied: Applied) -> Hashable:
        """All that a need depends on, apart from what is the same in the whole run."""
        installed = installed_on(slot, model)
        file = None
        if installed is not None:
            told = installed.header is not None
            file = (header_key(installed), installed.size_bytes, installed.beside_bytes, installed.embedding, told)
        context, alike = self._context(slot, model, installed, applied), self._alike.of(slot)
        return id(alike), model.name, model.variant, file, context, in_ram(slot, model), slot.reachable

    def _context(self, slot: Slot, model: ModelSpec, installed: Installed | None, applied: Applied) -> int | None:
        """What one request will be able to use: as asked, as baked in, as this engine last had it of its own; None: its default."""
        asked = model.options.get("num_ctx")
        if model.context is not None:
            return model.context
        if isinstance(asked, int) and not isinstance(asked, bool) and asked > 0:
            return asked
        if installed is not None and installed.context is not None:
            return installed.context
        if self._observed is None:
            rows = applied.replicas.values()
            self._observed = {
                (row.at, row.engine_name): row.observed_context for row in rows if row.context is None and row.observed_context is not None
            }
        return self._observed.get((slot.id, model.engine_name(slot.kind))) if self._observed else None

    def _fixed_on(self, alike: Alike, applied: Applied) -> tuple[int, int, int]:
        """What a process takes on a card beside what its engine reports: as loads on such cards with this build showed it."""
        if self._fixed is None:
            self._fixed = {}
            for key, one in applied.measured.items():
                if one.card_bytes is not None and one.reported_bytes is not None and key.gpu:
                    beside = self._fixed.get((key.gpu, key.build), ())
                    self._fixed[key.gpu, key.build] = (*beside, one.card_bytes - one.reported_bytes)
        return fixed_of(self._fixed.get((alike.gpu, alike.build), ()))

    def _way(self, slot: Slot, model: ModelSpec, installed: Installed, applied: Applied, cards: int = 1) -> _Way | None:
        """`cards` 0: it runs on the CPU."""
        alike = self._alike.of(slot)
        if alike.server is None or installed.header is None or header_key(installed) is None:
            return None
        geometry = self._geometry(installed, installed.header)
        if geometry is None:
            return None
        context = self._context(slot, model, installed, applied)
        layers, batch = _count(model.options.get("num_gpu")), _count(model.options.get("num_batch"))
        embedding = bool(installed.embedding)
        settings = ollama_settings(alike.server, geometry, context, batch, layers if cards else 0, embedding, cards)
        return None if settings is None else _Way(geometry, settings, installed.beside_bytes, self._fixed_on(alike, applied))

    def _geometry(self, installed: Installed, header: ModelHeader) -> Geometry | None:
        key = header_key(installed) or ""
        if key not in self._geometries:
            try:
                self._geometries[key] = geometry_of(header_of_fact(header))
            except UnknownLayout:
                self._geometries[key] = None
        return self._geometries[key]

    def _predicted(self, installed: Installed, way: _Way | None) -> Prediction | None:
        if way is None:
            return None
        key = (header_key(installed), way.settings, way.beside, way.fixed)
        if key not in self._predictions:
            try:
                self._predictions[key] = predict(way.geometry, way.settings, way.beside, way.fixed)
            except UnknownLayout:
                self._predictions[key] = None
        return self._predictions[key]


def installed_on(slot: Slot, model: ModelSpec) -> Installed | None:
    """The model's file on this engine, under its derived or its own name."""
    return slot.installed(model.engine_name(slot.kind)) or slot.installed(model.base_name(slot.kind))


def in_ram(slot: Slot, model: ModelSpec) -> bool:
    """Whether this model on this engine sits in RAM: asked for the CPU, or no card there."""
    return model.residency is Residency.CPU or slot.cards == ()


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
