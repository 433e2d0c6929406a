"""Reading what others wrote within bounds, and writing what is ours all or nothing."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

from reconciler.fleet import GpurecError, format_bytes


def read_bounded(path: Path, most: int) -> str:
    """The text of a file of at most `most` bytes; GpurecError when it is not there, larger, not a file or not UTF-8."""
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
        return content.decode()
    except UnicodeDecodeError as error:
        raise GpurecError.of(f"the file is not UTF-8 text (byte {error.start})", str(path)) from error


def write_private(path: Path, text: str) -> None:
    """Writes a file that only its owner may read (0600), whole or not at all."""
    try:
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise GpurecError.of(f"the file cannot be written: {error.strerror}", str(path)) from error
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except OSError as error:
        raise GpurecError.of(f"the file cannot be written: {error.strerror}", str(path)) from error
    finally:
        with contextlib.suppress(FileNotFoundError):
            Path(name).unlink()


def write_new(path: Path, text: str, *, force: bool = False) -> None:
    """Writes a file of the workspace, with the usual permissions, whole or not at all; only with `force` over one that is there."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise GpurecError.of(f"the file cannot be written: {error.strerror}", str(path)) from error
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        Path(name).chmod(0o666 & ~_umask())
        if force:
            Path(name).replace(path)
        else:
            os.link(name, path)  # unlike a rename it overwrites nothing
    except FileExistsError as error:
        raise GpurecError.of("this file is there already", str(path), "name another file, or overwrite it with --force") from error
    except OSError as error:
        raise GpurecError.of(f"the file cannot be written: {error.strerror}", str(path)) from error
    finally:
        with contextlib.suppress(FileNotFoundError):
            Path(name).unlink()


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
