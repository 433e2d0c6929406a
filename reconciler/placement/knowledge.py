"""What is known of needs in one run: the server that each engine is, and every prediction once for all engines that are alike.

Private to one run and filled as it is asked, so that a fleet of 10,000 alike nodes costs one prediction a model. Pure: nothing is kept
between runs.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reconciler.fleet import EngineId, EngineKind, Installed, ModelHeader, ModelSpec, Residency, header_key
from reconciler.vram import (
    NO_CATALOGUE,
    Catalogue,
    Geometry,
    Need,
    OllamaServer,
    Prediction,
    RunSettings,
    UnknownLayout,
    every_need,
    geometry_of,
    header_of_fact,
    known_need,
    ollama_server,
    ollama_settings,
    predict,
    ram_bytes,
)

if TYPE_CHECKING:
    from reconciler.fleet import Applied
    from reconciler.placement.board import Slot


@dataclass(frozen=True, slots=True)
class _Way:
    """How a server would run a model: its geometry and its settings."""

    geometry: Geometry
    settings: RunSettings
    beside: int


class Knowledge:
    """Needs by engine and model; `catalogue` is the last source of them."""

    def __init__(self, catalogue: Catalogue = NO_CATALOGUE) -> None:
        self.catalogue = catalogue
        self._servers: dict[Hashable, OllamaServer] = {}
        self._geometries: dict[str, Geometry | None] = {}
        self._predictions: dict[tuple[str, RunSettings, int], Prediction | None] = {}
        self._needs: dict[Hashable, Need | None] = {}
        self._observed: dict[tuple[EngineId, str], int] | None = None

    def need(self, slot: Slot, model: ModelSpec, applied: Applied) -> Need | None:
        """What `model` needs on this engine, from the first source that knows; None when none does."""
        if model.vram is not None:
            return Need(model.vram, "declared")
        installed = installed_on(slot, model)
        context = self._context(slot, model, installed, applied)
        ram = in_ram(slot, model)
        about = None if installed is None else (header_key(installed), installed.size_bytes, installed.beside_bytes)
        key = (id(self.server(slot)), slot.kind, model.name, model.variant, about, context, ram)
        if key not in self._needs:
            computed = None if installed is None else self._computed(slot, model, installed, context, ram)
            size = installed.size_bytes if installed is not None else None
            self._needs[key] = known_need(model, slot.kind, size, applied.measured, computed, self.catalogue)
        return self._needs[key]

    def every(self, slot: Slot, model: ModelSpec, applied: Applied) -> tuple[Need, ...]:
        """What each source that knows says, the one that counts first."""
        installed = installed_on(slot, model)
        size = installed.size_bytes if installed is not None else None
        return every_need(model, slot.kind, size, applied.measured, self.computed(slot, model, applied), self.catalogue)

    def part(self, slot: Slot, model: ModelSpec, applied: Applied) -> int | None:
        """The most bytes that a card of this engine holds of `model` spread over all of them; None where that is not computed."""
        installed = installed_on(slot, model)
        if installed is None or not slot.cards:
            return None
        way = self._way(slot, model, installed, self._context(slot, model, installed, applied), len(slot.cards))
        prediction = None if way is None else self._predicted(installed, way)
        highs = [] if prediction is None else [card.high for card in prediction.cards]
        return max((high for high in highs if high is not None), default=None) if None not in highs else None

    def computed(self, slot: Slot, model: ModelSpec, applied: Applied) -> int | None:
        """The upper end of what `predict` makes of the model's header on this engine; None where header or settings are not known."""
        installed = installed_on(slot, model)
        if installed is None:
            return None
        return self._computed(slot, model, installed, self._context(slot, model, installed, applied), in_ram(slot, model))

    def cells(self, slot: Slot, model: ModelSpec, applied: Applied) -> int | None:
        """The cells of cache that this engine would ask for, context × parallel; None where header or context are not known."""
        installed = installed_on(slot, model)
        if installed is None:
            return None
        way = self._way(slot, model, installed, self._context(slot, model, installed, applied), 1)
        return None if way is None else way.settings.requested

    def server(self, slot: Slot) -> OllamaServer | None:
        """The server that an engine is, one object for all that are alike; None for an engine of another kind."""
        if slot.kind is not EngineKind.OLLAMA:
            return None
        if slot.server is None:
            cards = slot.cards
            sizes = None if cards is None else tuple(card.total for card in cards)
            abilities = () if cards is None else tuple(card.facts.compute_capability if card.facts is not None else None for card in cards)
            build = slot.facts.build if slot.facts is not None else None
            key = (build, tuple(sorted(slot.spec.env.items())), sizes, abilities)
            if key not in self._servers:
                known = None if sizes is None or None in sizes else sum(size for size in sizes if size is not None)
                self._servers[key] = ollama_server(build, slot.spec.env, known, abilities)
            slot.server = self._servers[key]
        return slot.server

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

    def _computed(self, slot: Slot, model: ModelSpec, installed: Installed, context: int | None, ram: bool) -> int | None:
        way = self._way(slot, model, installed, context, 0 if ram else 1)
        prediction = None if way is None else self._predicted(installed, way)
        if way is None or prediction is None:
            return None
        return ram_bytes(prediction, way.settings, way.beside) if ram else prediction.cards[0].high

    def _way(self, slot: Slot, model: ModelSpec, installed: Installed, context: int | None, cards: int) -> _Way | None:
        """`cards` 0: it runs on the CPU."""
        server = self.server(slot)
        known = installed.header is not None and header_key(installed) is not None
        geometry = None if not known or installed.header is None or server is None else self._geometry(installed, installed.header)
        if geometry is None or server is None:
            return None
        layers, batch = _count(model.options.get("num_gpu")), _count(model.options.get("num_batch"))
        settings = ollama_settings(server, geometry, context, batch, layers if cards else 0, bool(installed.embedding), cards)
        return None if settings is None else _Way(geometry, settings, installed.beside_bytes)

    def _geometry(self, installed: Installed, header: ModelHeader) -> Geometry | None:
        key = header_key(installed) or ""
        if key not in self._geometries:
            try:
                self._geometries[key] = geometry_of(header_of_fact(header))
            except UnknownLayout:
                self._geometries[key] = None
        return self._geometries[key]

    def _predicted(self, installed: Installed, way: _Way) -> Prediction | None:
        key = (header_key(installed) or "", way.settings, way.beside)
        if key not in self._predictions:
            try:
                self._predictions[key] = predict(way.geometry, way.settings, way.beside)
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
