"""Reading GGUF files: only the header, with bounded time and memory, so that a hostile file costs nothing."""

from __future__ import annotations

from reconciler.gguf.model import ModelFile, read_model, read_url
from reconciler.gguf.reader import GgufError, read_header

__all__ = ["GgufError", "ModelFile", "read_header", "read_model", "read_url"]
