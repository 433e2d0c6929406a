"""What probing saw. None always means *unknown*: never 0, never a default, never "absent"."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from reconciler.fleet.names import EngineId, EngineKind


class ResidentStatus(StrEnum):
    LOADED = "loaded"
    LOADING = "loading"
    SLEEPING = "sleeping"


@dataclass(frozen=True, slots=True)
class Resident:
    """A model that an engine holds in memory (or is loading).

    `name` is canonical for the engine's kind. `size_bytes` is the whole of what the engine says it holds, `vram_bytes` the part on cards.
    `context` is what one request may use. `pinned` tells for-ever from a finite keep-alive; `expires_in` (seconds at probing time) is for
    showing only. `blob` identifies the weights, so that two names of one runner are seen as one. `options` are the arguments of its runner
    where the engine tells them.
    """

    name: str
    status: ResidentStatus = ResidentStatus.LOADED
    size_bytes: int | None = None
    vram_bytes: int | None = None
    context: int | None = None
    pinned: bool | None = None
    expires_in: float | None = None
    blob: str | None = None
    options: tuple[str, ...] | None = None

    @property
    def gpu_fraction(self) -> float | None:
        """The share on cards, 0..1; unknown when either size is unknown or the engine reports a size of 0."""
        if self.size_bytes is None or self.vram_bytes is None or self.size_bytes <= 0:
            return None
        return self.vram_bytes / self.size_bytes


@dataclass(frozen=True, slots=True)
class Installed:
    """A model on an engine's disk. `failed` says that its last load on this engine failed (llama.cpp router only)."""

    name: str
    size_bytes: int | None = None
    digest: str | None = None
    blob: str | None = None
    embedding: bool | None = None
    failed: bool = False


@dataclass(frozen=True, slots=True)
class EngineFacts:
    """One engine, as probed. When `reachable` is False everything else is unknown and `reason` says why (one sentence).

    `mode` is `router` or `single` for llama.cpp. `installed` and `residents` are None when the engine could not tell.
    `build` is the engine's version as it says it.
    """

    id: EngineId
    kind: EngineKind
    reachable: bool
    reason: str | None = None
    reason_code: str | None = None
    build: str | None = None
    mode: str | None = None
    max_residents: int | None = None
    installed: tuple[Installed, ...] | None = None
    residents: tuple[Resident, ...] | None = None
    probe_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class CardFacts:
    """One card, as probed or declared. `assumed` says that its own use could not be read, so `foreign_bytes` is the declared one."""

    index: int
    uuid: str | None = None
    name: str | None = None
    total_bytes: int | None = None
    used_bytes: int | None = None
    foreign_bytes: int | None = None
    compute_capability: tuple[int, int] | None = None
    driver: tuple[int, ...] | None = None
    source: str = "declared"
    assumed: bool = True


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """One node. `cards` None: not known; (): has none."""

    node: str
    cards: tuple[CardFacts, ...] | None = None
    ram_bytes: int | None = None
    engines: Mapping[str, EngineFacts] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FleetFacts:
    """All nodes at one time; `at` is ISO 8601 in UTC."""

    at: str
    nodes: Mapping[str, NodeFacts]

    def engine(self, at: EngineId) -> EngineFacts | None:
        node = self.nodes.get(at.node)
        return node.engines.get(at.engine) if node is not None else None
