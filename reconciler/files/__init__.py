"""Files of this machine: those of others read within bounds, ours written whole or not at all; and what is wrong with a document."""

from __future__ import annotations

from reconciler.files.access import others_may_write
from reconciler.files.documents import what_is_wrong
from reconciler.files.reading import read_bounded, read_bounded_bytes
from reconciler.files.target import FileTarget, UnsafeLink, find_target
from reconciler.files.writing import PRIVATE, file_errors, publish, staged, write_file

__all__ = [
    "PRIVATE",
    "FileTarget",
    "UnsafeLink",
    "file_errors",
    "find_target",
    "others_may_write",
    "publish",
    "read_bounded",
    "read_bounded_bytes",
    "staged",
    "what_is_wrong",
    "write_file",
]
