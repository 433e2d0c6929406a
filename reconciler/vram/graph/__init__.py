"""The compute graph of a model and what its buffers take: built, scheduled and allocated as ggml does, without computing anything."""

from __future__ import annotations

from reconciler.vram.graph.buffers import buffer_sizes
from reconciler.vram.graph.tensor import Graph, Tensor

__all__ = ["Graph", "Tensor", "buffer_sizes"]
