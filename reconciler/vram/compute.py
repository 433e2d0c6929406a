"""The compute buffers of a llama.cpp server: its graph, scheduled and laid out as ggml does. None where a graph is not worked out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler.value_class import value_class
from reconciler.vram.builds import Backend
from reconciler.vram.geometry import Geometry
from reconciler.vram.graph import buffer_sizes
from reconciler.vram.graph.tensor import UnknownGraph
from reconciler.vram.settings import RunSettings

if TYPE_CHECKING:
    from reconciler.vram.graph.families import MakesGraph

PIPELINE_COPIES = 4
"""Copies of every input where several cards work in a pipeline (GGML_SCHED_MAX_COPIES)."""


@value_class
class ComputeBuffers:
    """Bytes of the buffer of each card and of the host's."""

    cards: tuple[int, ...]
    host: int

    def plus(self, other: ComputeBuffers) -> ComputeBuffers:
        """Both side by side."""
        return ComputeBuffers(tuple(map(sum, zip(self.cards, other.cards, strict=True))), self.host + other.host)


def compute_buffers(geometry: Geometry, settings: RunSettings) -> ComputeBuffers | None:
    """None where the graph of the architecture, or of the way it is spread, is not worked out."""
    from reconciler.vram.graph.families import GRAPHS

    return _buffers(GRAPHS.get(geometry.architecture), geometry, settings)


def head_buffers(geometry: Geometry, settings: RunSettings) -> ComputeBuffers | None:
    """Those of the draft head, which has a context of its own beside the model's. None as above."""
    from reconciler.vram.graph.families import HEAD_GRAPHS

    return _buffers(HEAD_GRAPHS.get(geometry.architecture), geometry, settings.of_head)


def _buffers(build: MakesGraph | None, geometry: Geometry, settings: RunSettings) -> ComputeBuffers | None:
    if build is None:
        return None
    try:
        graph = build(geometry, settings)
    except UnknownGraph:
        return None
    cards = len(settings.split)
    pipeline = cards > 1 and settings.offloaded > geometry.blocks
    sizes = buffer_sizes(graph, cards, PIPELINE_COPIES if pipeline else 1, reordered=settings.on is Backend.VULKAN)
    return ComputeBuffers(sizes[:cards], sizes[cards])
