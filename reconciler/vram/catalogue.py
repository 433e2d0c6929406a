"""What is known of models and cards before anything was measured, as values. The last source of a need; exact names only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from reconciler.fleet import EngineKind, canonical_name


class Trust(StrEnum):
    """Where a size of the catalogue is from: a running fleet, or a rule of thumb."""

    REPORTED = "reported"
    ROUGH = "rough"


@dataclass(frozen=True, slots=True)
class KnownModel:
    """What a model takes on a card, in bytes. `engine` is the kind whose name this is."""

    name: str
    engine: EngineKind
    vram: int
    trust: Trust


@dataclass(frozen=True, slots=True)
class KnownGpu:
    """A card's model: PCI ids as `vendor:device` in lower case, nominal memory in bytes, native arithmetic."""

    name: str
    pci: tuple[str, ...]
    vram: int
    compute_capability: tuple[int, int]
    float16: bool
    bfloat16: bool


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Models by engine kind and canonical name, cards by name and by PCI id."""

    models: Mapping[tuple[EngineKind, str], KnownModel] = field(default_factory=dict)
    gpus: Mapping[str, KnownGpu] = field(default_factory=dict)

    def model(self, kind: EngineKind, name: str) -> KnownModel | None:
        """The entry of just this name in canonical form, never one that is only alike."""
        return self.models.get((kind, canonical_name(kind, name)))

    def gpu(self, name_or_pci: str) -> KnownGpu | None:
        """A card by the driver's name for it (without regard to case), or by `vendor:device`."""
        return self.gpus.get(name_or_pci.lower())


NO_CATALOGUE = Catalogue()
