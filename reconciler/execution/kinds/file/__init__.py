"""Writes and removes rendered files."""

from __future__ import annotations

from reconciler.execution.kinds.file.actor import FileActor

__all__ = ["FileActor"]
