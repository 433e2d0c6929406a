"""What is known of models and cards before anything was measured, as values. The last source of a need; exact names only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from enum import StrEnum

from reconciler.fleet import EngineKind, canonical_name
from reconciler.value_class import value_class
from reconciler.vram.quantisation import Quantisation
from reconciler.vram.shape import ListedShape, Shape


class Trust(StrEnum):
    """Where a size of the catalogue is from: a running fleet, or a rule of thumb."""

    REPORTED = "reported"
    ROUGH = "rough"


@value_class
class KnownModel:
    """What a model takes on a card, in bytes as people report it (None: nobody did), and the name of its shape with the quantisation that
    the model's name stands for (None: not known). `engine` is the kind whose name this is."""

    name: str
    engine: EngineKind
    vram: int | None
    trust: Trust
    shape: str | None = None
    quantisation: Quantisation = Quantisation.Q4_K_M


@value_class
class KnownGpu:
    """A card's model: PCI ids as `vendor:device` in lower case, nominal memory in bytes, native arithmetic."""

    name: str
    pci: tuple[str, ...]
    vram: int
    compute_capability: tuple[int, int]
    float16: bool
    bfloat16: bool


@value_class
class Catalogue:
    """Models by engine kind and canonical name, cards by name and by PCI id, shapes by name."""

    models: Mapping[tuple[EngineKind, str], KnownModel] = field(default_factory=dict)
    gpus: Mapping[str, KnownGpu] = field(default_factory=dict)
    shapes: Mapping[str, Shape] = field(default_factory=dict)

    def model(self, kind: EngineKind, name: str) -> KnownModel | None:
        """The entry of just this name in canonical form, never one that is only alike."""
        return self.models.get((kind, canonical_name(kind, name)))

    def listed(self, kind: EngineKind, name: str) -> ListedShape | None:
        """The shape of the model of just this name; None where none is known."""
        found = self.model(kind, name)
        shape = None if found is None or found.shape is None else self.shapes.get(found.shape)
        return None if found is None or shape is None else ListedShape(shape, found.quantisation)

    def gpu(self, name_or_pci: str) -> KnownGpu | None:
        """A card by the driver's name for it (without regard to case), or by `vendor:device`."""
        return self.gpus.get(name_or_pci.lower())


NO_CATALOGUE = Catalogue()
