"""Where a path leads: through its symbolic links, but through none that a stranger may have put there."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from reconciler.files.access import others_may_write
from reconciler.fleet import GpurecError, Place, Problem
from reconciler.value_class import value_class

MOST_LINKS = 40
"""As many as Linux follows (path_resolution(7))."""


class UnsafeLink(GpurecError):
    """A symbolic link (`link`) on the way to a file, in a folder that others may write to: whoever does so says where it leads."""

    def __init__(self, path: Path, link: Path) -> None:
        which = "this" if link == path.absolute() else str(link)
        what = f"{which} is a symbolic link in a folder that others may write to, so it is not followed"
        super().__init__(Problem(what, Place(str(path)), "name the file that it leads to, or write to a folder of your own"))
        self.link = link


@value_class
class FileTarget:
    """What a path leads to. `path` has no link left in it, and need not exist. `stream`: a device, a pipe or an open descriptor, which is
    written to as it is and never replaced."""

    path: Path
    stream: bool = False
    exists: bool = False


def find_target(path: Path, *, new_folders: bool = False) -> FileTarget:
    """Follows the links of a path that is to be written.

    Raises UnsafeLink for a link in a folder that others may write to, GpurecError for links that form a ring, for a folder, and where the
    folder does not exist, unless `new_folders` may be made.
    """
    place, left = Path("/"), list(reversed(path.absolute().parts[1:]))
    links = 0
    while left:
        part = left.pop()
        if part == "..":
            place = place.parent
            continue
        here = place / part
        try:
            seen = here.lstat()
        except FileNotFoundError:
            if left and not new_folders:
                raise _no_folder(path, here) from None
            return FileTarget(Path(os.path.normpath(here.joinpath(*reversed(left)))))
        except NotADirectoryError:
            raise GpurecError.of(f"the file cannot be written: {place} is a file, not a folder", str(path), "check the path") from None
        except OSError as error:
            raise GpurecError.of(f"the file cannot be written: {error.strerror}", str(path)) from error
        if not stat.S_ISLNK(seen.st_mode):
            place = here
            continue
        if _is_descriptors(place):
            return FileTarget(here, stream=True, exists=True)
        links += 1
        if links > MOST_LINKS:
            raise GpurecError.of("its symbolic links lead in a ring", str(path), "name the file itself")
        if others_may_write(place.stat()):
            raise UnsafeLink(path, here)
        to = here.readlink()
        if to.is_absolute():
            place = Path("/")
        left += reversed(to.parts[1:] if to.is_absolute() else to.parts)
    mode = place.stat().st_mode
    if stat.S_ISDIR(mode):
        raise GpurecError.of("this is a folder", str(path), "name a file in it")
    return FileTarget(place, stream=not stat.S_ISREG(mode), exists=True)


def _no_folder(path: Path, folder: Path) -> GpurecError:
    what = f"the file cannot be written: the folder {folder} does not exist"
    return GpurecError.of(what, str(path), "check the path, or make the folder")


def _is_descriptors(folder: Path) -> bool:
    """`/proc/PID/fd`, whose links name what a process has open and lead there only by being opened (proc(5))."""
    return folder.name == "fd" and folder.parts[1] in ("proc", "dev")
