"""Reading a Hugging Face checkpoint: its `config.json` and how many bytes its weights are, never the weights themselves."""

from __future__ import annotations

from reconciler.huggingface.folder import CheckpointError, Folder, read_folder

__all__ = ["CheckpointError", "Folder", "read_folder"]
