"""Opening the file: modes, WAL, and SQLite's errors as sentences."""

from __future__ import annotations

import os
import resource
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

from reconciler.fleet import Place, Problem, StateError
from reconciler.state.sql.connection import Damaged, Unwritable
from reconciler.state.sql.rescue import RescuePlace
from reconciler.state.sql.row_errors import NO_VALUE, UndecodableRow, words_of

FILE_MODE = 0o600
FOLDER_MODE = 0o700
BUSY_SECONDS = 5.0
_UNDECODABLE = "gpurec state check names every such row; gpurec state restore FILE puts a backup in its place"


def open_for_writing(path: Path, new_folder: bool = False) -> sqlite3.Connection:
    """A connection in WAL mode that fsyncs every commit. Makes the file (0600) where missing, and its folders (0700) with `new_folder`;
    what exists keeps its mode."""
    _refuse_other_kinds(path)
    if not new_folder:
        require_folder(path)
    with sqlite_said(path):
        try:
            make_folder(path.parent)
            _make_file(path)
        except OSError as error:
            raise StateError.of(
                f"the state cannot be created: {error.strerror or error}",
                str(path),
                "make the folder writable for you, or name another state",
            ) from error
        conn = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
        try:
            conn.execute("PRAGMA journal_mode = WAL")
            conn.execute("PRAGMA synchronous = FULL")
            conn.execute("PRAGMA foreign_keys = ON")
        except BaseException:
            conn.close()
            raise
        return conn


def open_for_reading(path: Path) -> sqlite3.Connection:
    """A connection that cannot write. Where WAL's shared memory cannot be made (a folder that is read-only for us), the file is read as
    it stands, which is complete as long as no log of a writer lies beside it."""
    _refuse_other_kinds(path)
    with sqlite_said(path):
        uri = existing(path, "ro")
        conn = sqlite3.connect(uri, uri=True, timeout=BUSY_SECONDS, isolation_level=None)
        try:
            conn.execute("SELECT count(*) FROM sqlite_master").fetchone()
            return conn
        except sqlite3.OperationalError as error:
            conn.close()
            if not _cannot_share(error) or not os.access(path, os.R_OK) or _has_log(path):
                raise
        return sqlite3.connect(f"{uri}&immutable=1", uri=True, isolation_level=None)


def followed(path: Path) -> Path:
    """The file that a state's path leads to: SQLite puts its log beside that one, and not beside a link to it."""
    return Path(os.path.realpath(path))


def rescue_place(path: Path) -> RescuePlace:
    """Where rescue journals of this state lie: beside it, or where temporary files do."""
    file = followed(path)
    return RescuePlace(str(file.absolute()), (file.parent, Path(tempfile.gettempdir())))


def file_id(path: Path) -> tuple[int, int] | None:
    """Which file is there, by device and inode; None where there is none. The inode of a file that is open is given to no other."""
    try:
        seen = path.stat()
    except OSError:
        return None
    return seen.st_dev, seen.st_ino


def existing(path: Path, mode: str = "rw") -> str:
    """The address of a database that SQLite must not make."""
    return f"file:{quote(str(path.absolute()))}?mode={mode}"


def require_folder(path: Path) -> None:
    """Refuses a state in a folder that does not exist: more likely the path is mistyped than that everything begins anew."""
    if path.parent.is_dir():
        return
    why = "is a file" if path.parent.exists() else "does not exist"
    raise _error(f"the folder of the state, {path.parent}, {why}", path, "check --state, or add --state-new to make the folder")


def _refuse_other_kinds(path: Path) -> None:
    if path.is_dir():
        raise _error("the state cannot be opened: this is a folder", path, "name the file in it, such as state/FLEET.db")
    if path.exists() and not path.is_file():
        raise _error("the state cannot be opened: this is a device or a pipe", path, "name a file")


def _cannot_share(error: sqlite3.OperationalError) -> bool:
    return error.sqlite_errorname.startswith(("SQLITE_CANTOPEN", "SQLITE_READONLY", "SQLITE_IOERR"))


def _has_log(path: Path) -> bool:
    log = path.with_name(path.name + "-wal")
    try:
        return log.stat().st_size > 0
    except FileNotFoundError:
        return False


def make_folder(folder: Path) -> None:
    """Makes a folder of mode 0700, and those above it, where missing."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    try:
        folder.mkdir(FOLDER_MODE)
    except FileExistsError:
        if not folder.is_dir():
            raise
        return
    folder.chmod(FOLDER_MODE)  # whatever the umask took away


def _make_file(path: Path) -> None:
    with suppress(FileExistsError):
        number = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, FILE_MODE)
        try:
            os.fchmod(number, FILE_MODE)
        finally:
            os.close(number)


@contextmanager
def sqlite_said(path: Path) -> Iterator[None]:
    """Turns what SQLite raises inside the block, and what rows that are none make their readers raise, into one sentence."""
    try:
        yield
    except sqlite3.Error as error:
        raise _sentence(error, path) from error
    except UndecodableRow as error:
        raise Damaged(Problem(f"the state holds what gpurec did not write: {error}", Place(str(path)), _UNDECODABLE)) from error
    except NO_VALUE as error:
        what = f"the state holds, or was given, a value that it cannot hold: {words_of(error)}"
        raise Damaged(Problem(what, Place(str(path)), _UNDECODABLE)) from error


def _sentence(error: sqlite3.Error, path: Path) -> StateError:
    name = getattr(error, "sqlite_errorname", "") or ""
    if name.startswith("SQLITE_NOTADB"):
        return Damaged(Problem("is not an SQLite file", Place(str(path)), "name another state, or move this file away"))
    if name.startswith("SQLITE_CORRUPT"):
        hint = "gpurec state restore FILE, or move it away: the next apply then adopts what runs as wanted"
        return Damaged(Problem("the state is damaged", Place(str(path)), hint))
    if "no such table" in str(error) or "no such column" in str(error):
        return Damaged(Problem(f"the state is damaged: {error}", Place(str(path)), "gpurec state restore FILE, from a backup"))
    if name.startswith("SQLITE_BUSY"):
        return _unwritable("the state is busy: another process is writing to it", path, "try again")
    if name.startswith("SQLITE_FULL") or (name.startswith("SQLITE_IOERR") and _is_full(path)):
        return _unwritable("the state cannot be written: the disk is full", path, "make room and run again")
    if name.startswith(("SQLITE_READONLY", "SQLITE_PERM")):
        return _unwritable("the state cannot be written: the file or its folder is read-only", path, "make both writable for you")
    if name.startswith(("SQLITE_CANTOPEN", "SQLITE_AUTH")):
        return _unwritable("the state cannot be opened", path, "check that it is a file that you may read, in a folder that you may enter")
    if name.startswith("SQLITE_IOERR") and (most := _longest_file()) is not None:
        what = f"the state cannot be written: this process may write files of at most {most:,} bytes (ulimit -f)"
        return _unwritable(what, path, "raise that limit")
    if name.startswith("SQLITE_IOERR"):
        return _unwritable(f"the disk of the state fails ({name})", path, "check the disk, then run again")
    return _error(f"SQLite refuses: {error}", path, "check that the file is a gpurec state")


def _longest_file() -> int | None:
    """Bytes that a file of this process may have; None where nobody has set a limit."""
    most, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    return None if most == resource.RLIM_INFINITY else most


def _is_full(path: Path) -> bool:
    """SQLite has other words where it finds no room for the memory that its connections share."""
    try:
        return shutil.disk_usage(path.parent).free == 0
    except OSError:
        return False


def _error(what: str, path: Path, hint: str) -> StateError:
    return StateError(Problem(what, Place(str(path)), hint))


def _unwritable(what: str, path: Path, hint: str) -> Unwritable:
    return Unwritable(Problem(what, Place(str(path)), hint))
