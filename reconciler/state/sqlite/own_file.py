"""The file of a state while one run writes it: is it still that one, and does it hold what this run left in it?"""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

from reconciler.fleet import Place, Problem
from reconciler.state.sql.connection import Replaced
from reconciler.state.sqlite.connection import existing, file_id
from reconciler.state.sqlite.log import log_path


class OwnFile:
    """A state that is open for writing, its log and the index of that; their inodes tell which files these are.

    Whoever has the lease alone writes to the file itself (everybody else's pages stay in the log), so a size or a time of change that this
    run did not leave is the work of a run that took the lease over, or a copy over the file, such as `cp` makes.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._file = path, file_id(path)
        self._left: _Mark | None = None
        self._held: tuple[object, ...] | None = None
        self._log, self._index = log_path(path), path.with_name(path.name + "-shm")
        self._beside = {beside: file_id(beside) for beside in (self._log, self._index)}

    def is_there(self) -> bool:
        """Whether the file is the same one, whatever is in it."""
        return file_id(self._path) == self._file

    def is_as_left(self) -> bool:
        """Whether nobody else has written to the file since. A time of change alone says nothing: `touch` makes one."""
        mark = _mark(self._path)
        if mark != self._left:
            held = _held_by(self._path)
            if held is None or held != self._held:
                return False
            self._left = mark
        return True

    def replaced(self) -> Replaced:
        """What is said where the file is another one, is gone, or was written to by somebody who does not have the lease."""
        if self.is_there():
            how = "was overwritten by another program"
        else:
            how = "was removed" if file_id(self._path) is None else "was replaced by another file"
        hint = "see who did that, put the state back, and plan: it finds out by probing"
        return Replaced(Problem(f"the state {how} while this run worked", Place(str(self._path)), hint))

    def written(self) -> None:
        """Takes the file as it is for what this run left; to be called right after a transaction of its writer, whose end may move pages
        from the log into the file."""
        mark = _mark(self._path)
        if mark != self._left:
            self._left, self._held = mark, _held_by(self._path)

    def set_aside(self) -> None:
        """Moves the log out of the way of what took the place of the state: nothing in a log says which state it is of, so the next who
        opens that would take these pages for its own. Does nothing where the log is not this one any more."""
        for path, file in self._beside.items():
            if file is None or file_id(path) != file:
                continue
            with suppress(OSError):
                if path == self._index:
                    path.unlink()
                elif self.is_there():  # SQLite would still move the pages of this very log into it
                    shutil.copy2(path, _aside(path, file))
                    with path.open("r+b") as log:
                        log.truncate()
                else:
                    path.rename(_aside(path, file))


def _aside(log: Path, file: tuple[int, int]) -> Path:
    return log.with_name(f"{log.name}.replaced-{file[1]}")


_Mark = tuple[int, int]


def _mark(path: Path) -> _Mark | None:
    try:
        seen = path.stat()
    except OSError:
        return None
    return seen.st_size, seen.st_mtime_ns


def _held_by(path: Path) -> tuple[object, ...] | None:
    """What tells the file itself, without its log, from every copy of another moment; None where it is no state. Read by SQLite alone: a
    file that this process opened and closed would lose the locks that SQLite has on it."""
    with suppress(sqlite3.Error), closing(sqlite3.connect(f"{existing(path, 'ro')}&immutable=1", uri=True)) as conn:
        return tuple(tuple(map(tuple, conn.execute(question))) for question in _TELLING)
    return None


_TELLING = (
    "PRAGMA page_count",
    "PRAGMA schema_version",
    "SELECT owner, token FROM lease",
    "SELECT value FROM meta WHERE key IN ('lineage', 'serial') ORDER BY key",
    "SELECT max(id) FROM runs",
)
