"""How many bytes a model needs, and how we know."""

from __future__ import annotations

from reconciler.vram.need import FILE_SIZE_FACTOR, Need, known_need

__all__ = ["FILE_SIZE_FACTOR", "Need", "known_need"]
