"""The way in which each engine would run a model, from what it tells of the model's file and of itself, and every prediction of it once.

Private to one run and filled as it is asked, so that a fleet of 10,000 alike nodes costs one prediction a model. Pure.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace

from reconciler.fleet import Applied, EngineId, Installed, ModelHeader, ModelSpec, Residency, header_key, told_by_start
from reconciler.needs.engine import KnownEngine
from reconciler.needs.engine_classes import Alike, AlikeEngines
from reconciler.value_class import value_class
from reconciler.vram import (
    AS_THE_ENGINE,
    Asked,
    Geometry,
    ListedShape,
    Prediction,
    RunSettings,
    UnknownLayout,
    fixed_of,
    geometry_of,
    header_of_fact,
    ollama_settings,
    predict,
)


@value_class
class Way:
    """How a server would run a model: its geometry and its settings, what is loaded beside it, and what its process takes on a card. `file`
    identifies what the geometry is from; `listed` is the shape of the catalogue where no engine has a file."""

    file: Hashable
    geometry: Geometry
    settings: RunSettings
    beside: int
    fixed: tuple[int, int, int]
    listed: ListedShape | None = None


class Ways:
    """Ways and predictions by engine and model. `asked` goes, by model, before what the engines would do."""

    def __init__(self) -> None:
        self.alike = AlikeEngines()
        self.asked: dict[str, Asked] = {}
        self._geometries: dict[str, Geometry | None] = {}
        self._shapes: dict[Hashable, Geometry] = {}
        self._predictions: dict[Hashable, Prediction | None] = {}
        self._observed: dict[tuple[EngineId, str], int] | None = None
        self._fixed: dict[tuple[str, str], tuple[int, ...]] | None = None

    def of(self, slot: KnownEngine, model: ModelSpec, installed: Installed | None, applied: Applied, cards: int = 1) -> Way | None:
        """None where header or settings are not known. `cards` 0: it runs on the CPU."""
        file = None if installed is None else header_key(installed)
        if installed is None or installed.header is None or file is None or self.alike.of(slot).server is None:
            return None
        geometry = self._geometry(installed, installed.header)
        if geometry is None:
            return None
        return self._way(slot, model, installed, geometry, file, applied, cards)

    def listed(self, slot: KnownEngine, model: ModelSpec, listed: ListedShape, applied: Applied, cards: int = 1) -> Way | None:
        """The same of a model of which no engine has the file, by the shape that the catalogue has of it."""
        key = (listed.shape.name, listed.quantisation)
        if key not in self._shapes:
            self._shapes[key] = listed.geometry()
        way = self._way(slot, model, None, self._shapes[key], key, applied, cards)
        return None if way is None else replace(way, listed=listed)

    def _way(
        self,
        slot: KnownEngine,
        model: ModelSpec,
        installed: Installed | None,
        geometry: Geometry,
        file: Hashable,
        applied: Applied,
        cards: int,
    ) -> Way | None:
        alike = self.alike.of(slot)
        if alike.server is None:
            return None
        context = self.context(slot, model, installed, applied)
        asked = self.asked.get(model.name, AS_THE_ENGINE)
        layers, batch = _count(model.options.get("num_gpu")), asked.ubatch or _count(model.options.get("num_batch"))
        embedding = installed is not None and bool(installed.embedding)
        server = asked.of_server(_as_wished(slot, model).of_server(alike.server))
        settings = ollama_settings(server, geometry, context, batch, layers if cards else 0, embedding, cards)
        beside = 0 if installed is None else installed.beside_bytes
        return None if settings is None else Way(file, geometry, asked.over(settings), beside, self.fixed_on(alike, applied))

    def predicted(self, way: Way | None) -> Prediction | None:
        """The need of a model that runs so; None where that cannot be told."""
        if way is None:
            return None
        key = (way.file, way.settings, way.beside, way.fixed)
        if key not in self._predictions:
            try:
                found = predict(way.geometry, way.settings, way.beside, way.fixed)
                self._predictions[key] = found if way.listed is None else way.listed.widened(found)
            except UnknownLayout:
                self._predictions[key] = None
        return self._predictions[key]

    def context(self, slot: KnownEngine, model: ModelSpec, installed: Installed | None, applied: Applied) -> int | None:
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

    def fixed_on(self, alike: Alike, applied: Applied) -> tuple[int, int, int]:
        """What a process takes on a card beside what its engine reports: as loads on such cards with this build showed it."""
        if self._fixed is None:
            self._fixed = {}
            for key, one in applied.measured.items():
                if one.card_bytes is not None and one.reported_bytes is not None and key.gpu:
                    beside = self._fixed.get((key.gpu, key.build), ())
                    self._fixed[key.gpu, key.build] = (*beside, one.card_bytes - one.reported_bytes)
        return fixed_of(self._fixed.get((alike.gpu, alike.build), ()))

    def _geometry(self, installed: Installed, header: ModelHeader) -> Geometry | None:
        key = header_key(installed) or ""
        if key not in self._geometries:
            try:
                self._geometries[key] = geometry_of(header_of_fact(header))
            except UnknownLayout:
                self._geometries[key] = None
        return self._geometries[key]


def installed_on(slot: KnownEngine, model: ModelSpec) -> Installed | None:
    """The model's file on this engine, under its derived or its own name."""
    return slot.installed(model.engine_name(slot.kind)) or slot.installed(model.base_name(slot.kind))


def in_ram(slot: KnownEngine, model: ModelSpec) -> bool:
    """Whether this model on this engine sits in RAM: asked for the CPU, or no card there."""
    return model.residency is Residency.CPU or slot.cards == ()


def asked_batch(model: ModelSpec) -> int | None:
    """`num_batch` of the model's options."""
    return _count(model.options.get("num_batch"))


def asked_context(slot: KnownEngine, model: ModelSpec) -> bool:
    """Whether somebody says how many tokens a request is to have there: the files of the model, or those of the engine."""
    return model.context is not None or _count(model.options.get("num_ctx")) is not None or "OLLAMA_CONTEXT_LENGTH" in slot.spec.env


def _as_wished(slot: KnownEngine, model: ModelSpec) -> Asked:
    """What the model asks of its server, as far as nobody declares what that does and it would take more than by default."""
    wished, told = model.runs, told_by_start(slot.spec)
    return Asked(
        parallel=wished.parallel if told.parallel is None else None,
        flash_attention=False if wished.flash_attention is False and told.flash_attention is None else None,
    )


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
