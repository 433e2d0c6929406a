"""Writes and removes rendered files, and runs what makes programs read them again."""

from __future__ import annotations

from reconciler.execution.kinds.file.actor import FileActor
from reconciler.execution.kinds.file.reload import ReloadActor

__all__ = ["FileActor", "ReloadActor"]
