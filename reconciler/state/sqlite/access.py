"""Who else may write a state: what it says is believed, so whoever writes it decides what is unloaded."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from reconciler.files import UnsafeLink, find_target, others_may_write
from reconciler.fleet import GpurecError, Place, Problem, StateError
from reconciler.state.sqlite.connection import followed
from reconciler.state.sqlite.log import log_path

ITS_FOLDER = "its folder"
ON_ITS_WAY = "on its way"
"""How clauses begin that are not about the files themselves."""


def unsafe_access(path: Path) -> list[str]:
    """In what ways somebody other than this user may write a state, or say which one it is, as clauses about it; of one that is not there
    yet, what its place says.

    A sticky folder of everybody's (such as /tmp) keeps the files in it; any other folder that others may write to does not, and one above
    that everybody may write to lets them put another folder in the place of that of the state.
    """
    file = followed(path)
    found = []
    try:
        find_target(path, new_folders=True)
    except UnsafeLink as error:
        found.append(f"{ON_ITS_WAY} is {error.link}, a symbolic link in a folder that others may write to (name the file itself)")
    except GpurecError:
        pass
    for each in (file, log_path(file)):
        try:
            seen = each.stat()
        except OSError:
            continue
        if seen.st_uid != os.geteuid():
            found.append(f"{each.name} belongs to another user (id {seen.st_uid})")
        elif others_may_write(seen):
            found.append(f"{each.name} can be written by others (mode {stat.S_IMODE(seen.st_mode):04o})")
    for each in file.parents:
        try:
            seen = each.stat()
        except OSError:  # it will be made
            continue
        mode = f"(mode {stat.S_IMODE(seen.st_mode):04o})"
        if _keeps(seen):
            continue
        if each == file.parent and seen.st_uid not in (0, os.geteuid()):
            found.append(f"{ITS_FOLDER} belongs to another user (id {seen.st_uid})")
        elif each == file.parent and others_may_write(seen):
            found.append(f"{ITS_FOLDER} can be written by others {mode}")
        elif seen.st_mode & stat.S_IWOTH:
            found.append(f"{ITS_FOLDER} lies in {each}, which everybody can write {mode}")
    return found


def _keeps(folder: os.stat_result) -> bool:
    """Whether a folder keeps what is in it from others who may write there: by its sticky bit, where nobody else owns it."""
    return bool(folder.st_mode & stat.S_ISVTX) and folder.st_uid in (0, os.geteuid())


def unsafe_sentence(path: Path) -> str | None:
    """What is said of such a state at every use; None where it is this user's alone."""
    found = unsafe_access(path)
    return f"the state {path} is not yours alone: {', '.join(found)}; {_ADVICE}" if found else None


def refuse_unsafe(path: Path) -> None:
    """Raises StateError for a state that somebody else may write."""
    found = unsafe_access(path)
    if found:
        what = f"the state is not yours alone, so it may say what somebody else wants: {', '.join(found)}"
        raise StateError(Problem(what, Place(str(path)), f"{_ADVICE}; --allow-unsafe-state applies all the same"))


_ADVICE = "own it, chmod 600 the file and chmod 700 its folder"
