"""The compute buffers of a llama.cpp server."""

from __future__ import annotations

from dataclasses import dataclass

from reconciler.vram.geometry import Geometry
from reconciler.vram.settings import RunSettings


@dataclass(frozen=True, slots=True)
class ComputeBuffers:
    """Bytes of the buffer of each card and of the host's."""

    cards: tuple[int, ...]
    host: int


def compute_buffers(geometry: Geometry, settings: RunSettings) -> ComputeBuffers | None:
    """None where the graph of the architecture, or of the way it is spread, is not worked out."""
    return None
