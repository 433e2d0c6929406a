"""A file that is rendered from a template. Pure."""

from __future__ import annotations

from reconciler.planning.kinds.file.kind import FILES, FileKind, FileSpec, FileStep

__all__ = ["FILES", "FileKind", "FileSpec", "FileStep"]
