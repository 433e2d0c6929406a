"""The one place where a file of this machine is written: whole or not at all."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from reconciler.files.access import others_may_write
from reconciler.files.target import FileTarget, find_target
from reconciler.fleet import GpurecError

PRIVATE = 0o600
"""The mode of a new file that is for its owner alone."""
_THERE = "this file is there already"


def write_file(
    path: Path, text: str, *, mode: int | None = None, overwrite: bool = True, new_folders: bool = False, within: Path | None = None
) -> None:
    """Writes a file whole or not at all, or to the device or pipe that `path` is. Links are followed; a file that is there keeps its mode
    and owner, a new one gets `mode` (None: what the umask leaves of 0666). Without `overwrite` a file that is there is an error; with
    `new_folders` the folders that it needs are made; `within` is a folder that no link may lead out of.

    Raises GpurecError where it cannot be written, and for a link that a stranger may have put there.
    """
    target = find_target(path, new_folders=new_folders)
    if within is not None and not target.path.is_relative_to(within.resolve()):
        what = "this leads out of the workspace by a link, so it is not written"
        raise GpurecError.of(what, str(path), "remove the link, or add --allow-outside-links where you trust who wrote these files")
    content = text.encode()
    with file_errors(path):
        if target.stream:
            _stream(target.path, content)
            return
        if new_folders:
            target.path.parent.mkdir(parents=True, exist_ok=True)
        with staged(target) as draft:
            with draft.open("wb") as file:
                file.write(content)
            publish(draft, target, mode=mode, overwrite=overwrite, named=path)


def publish(draft: Path, target: FileTarget, *, mode: int | None = PRIVATE, overwrite: bool = True, named: Path | None = None) -> None:
    """Puts a finished file in the place of `target`: written to where that is a stream, else in one move, once it is on the disk."""
    if target.stream:
        _stream(target.path, draft.read_bytes())
        return
    _settle(draft, target, mode)
    if overwrite:
        draft.replace(target.path)
    else:
        _add(draft, target.path, named or target.path)
    _sync(target.path.parent)


@contextmanager
def staged(target: FileTarget) -> Iterator[Path]:
    """An empty file of mode 0600 in the folder of the target (of a stream: in that for temporary files), gone at the end unless moved."""
    import tempfile

    folder = Path(tempfile.gettempdir()) if target.stream else target.path.parent
    draft = folder / f".gpurec-{secrets.token_hex(8)}"  # whatever the name of the target is, this one is not too long
    os.close(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, PRIVATE))
    try:
        yield draft
    finally:
        draft.unlink(missing_ok=True)


@contextmanager
def file_errors(path: Path) -> Iterator[None]:
    """Turns what the system says inside the block into one sentence about `path`."""
    try:
        yield
    except OSError as error:
        raise GpurecError.of(f"the file cannot be written: {error.strerror or error}", str(path)) from error


def _stream(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_NOCTTY)
    try:
        while content:
            content = content[os.write(descriptor, content) :]
    finally:
        os.close(descriptor)


def _settle(draft: Path, target: FileTarget, mode: int | None) -> None:
    """Gives a draft the mode and the owner of the file whose place it takes, and sees that its content is on the disk."""
    descriptor = os.open(draft, os.O_RDONLY)
    try:
        if (seen := _to_keep(target)) is not None:
            with suppress(PermissionError):  # only root gives files away
                os.fchown(descriptor, seen.st_uid, seen.st_gid)
            mode = stat.S_IMODE(seen.st_mode)
        os.fchmod(descriptor, 0o666 & ~_umask() if mode is None else mode)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _to_keep(target: FileTarget) -> os.stat_result | None:
    """The file whose mode and owner stay; None for one that a stranger may have put there to get at what is written."""
    if not target.exists:
        return None
    seen = target.path.stat()
    return None if seen.st_uid != os.geteuid() and others_may_write(target.path.parent.stat()) else seen


def _add(draft: Path, path: Path, named: Path) -> None:
    try:
        try:
            os.link(draft, path)  # unlike a rename it overwrites nothing
        except PermissionError:  # a file system without hard links
            path.touch(exist_ok=False)
            draft.replace(path)
    except FileExistsError as error:
        raise GpurecError.of(_THERE, str(named), "name another file, or overwrite it with --force") from error


def _sync(folder: Path) -> None:
    """Sees that a new name is on the disk too; file systems that cannot say so do it by themselves."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
