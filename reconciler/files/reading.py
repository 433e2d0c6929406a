"""Reading what others wrote, within bounds."""

from __future__ import annotations

from pathlib import Path

from reconciler.fleet import GpurecError, format_bytes


def read_bounded(path: Path, most: int) -> str:
    """The text of a file of at most `most` bytes; GpurecError when it is not there, larger, not a file or not UTF-8."""
    return read_bounded_bytes(path, most).decode()


def read_bounded_bytes(path: Path, most: int) -> bytes:
    """The same text as it is in the file, of which a large one is then held once and not twice."""
    try:
        if not path.is_file():
            raise GpurecError.of("there is no such file" if not path.exists() else "this is not a file", str(path))
        with path.open("rb") as file:
            content = file.read(most + 1)
    except OSError as error:
        raise GpurecError.of(f"the file cannot be read: {error.strerror}", str(path)) from error
    if len(content) > most:
        raise GpurecError.of(f"the file is larger than {format_bytes(most)}, the most that is read", str(path))
    try:
        if not content.isascii():
            content.decode()
        return content
    except UnicodeDecodeError as error:
        raise GpurecError.of(f"the file is not UTF-8 text (byte {error.start})", str(path)) from error
