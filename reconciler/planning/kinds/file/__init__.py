"""Files that are rendered from templates, and what is run once they are written. Pure."""

from __future__ import annotations

from reconciler.planning.kinds.file.kind import FileKind, FileStep
from reconciler.planning.kinds.file.reload import ReloadKind, ReloadStep
from reconciler.planning.kinds.file.spec import FILES, FileSpec, Per

__all__ = ["FILES", "FileKind", "FileSpec", "FileStep", "Per", "ReloadKind", "ReloadStep"]
