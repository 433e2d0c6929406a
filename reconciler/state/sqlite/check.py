"""Is a state sound? Every look is one finding; nothing is changed."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, nullcontext
from pathlib import Path

from reconciler.fleet import StateError
from reconciler.state.finding import StateFinding, StateLevel
from reconciler.state.sql.checking import MOST_TOLD, check_numbers, check_rows
from reconciler.state.sql.rescue import find_rescues
from reconciler.state.sql.waiting_tickets import check_no_state, check_tickets
from reconciler.state.sqlite.access import ITS_FOLDER, ON_ITS_WAY, unsafe_access
from reconciler.state.sqlite.connection import followed, open_for_reading, rescue_place, sqlite_said
from reconciler.state.sqlite.filesystem import network_filesystem
from reconciler.state.sqlite.lease import read_lease
from reconciler.state.sqlite.log import log_path, look_at_log
from reconciler.state.sqlite.reader import migrated_copy
from reconciler.state.sqlite.schema import SCHEMA_VERSION, schema_version

_RESTORE = "gpurec state restore FILE, from a backup"
SQLITE = "SQLite"
"""The finding about this Python's SQLite, and not about the state."""


def check_state(
    path: Path, *, sqlite_version: tuple[int, ...] = sqlite3.sqlite_version_info, mounts: str | None = None
) -> list[StateFinding]:
    """Everything that can be told of a state from outside and inside. Raises StateError where there is none, nor a ticket for one."""
    if not path.exists():
        return check_no_state(rescue_place(path), str(path))
    found = [_permissions(path)]
    path = followed(path)
    found += _outside(path, mounts)
    try:
        conn = open_for_reading(path)
    except StateError as error:
        found.append(_from(error, "file"))
    else:
        with closing(conn):
            found += _inside(conn, path)
    return [*found, _sqlite(sqlite_version), *_rescues(path)]


def _outside(path: Path, mounts: str | None) -> Iterator[StateFinding]:
    network = network_filesystem(path, mounts)
    if network is None:
        yield StateFinding("file system", StateLevel.OK, "of this machine")
    else:
        yield StateFinding(
            "file system", StateLevel.WARNING, network_sentence(network), "use it from one machine only, or keep the state on a local disk"
        )


def network_sentence(kind: str) -> str:
    """What is wrong with a state on a network file system of that kind."""
    return f"the state lies on a network file system ({kind}), where locks and SQLite's shared memory do not hold between machines"


def _inside(conn: sqlite3.Connection, path: Path) -> Iterator[StateFinding]:
    looks: tuple[tuple[str, Callable[[sqlite3.Connection, Path], StateFinding]], ...] = (
        ("schema", _schema),
        ("integrity", _integrity),
        ("foreign keys", _foreign_keys),
        ("rows", _rows),
        ("numbers", _numbers),
        ("journal mode", _mode),
        ("log", _log),
    )
    looks_left = {name for name, _ in looks}
    for name, look in looks:
        if name not in looks_left:
            continue
        try:
            with sqlite_said(path):
                yield look(conn, path)
        except StateError as error:
            yield _from(error, name)
            if name == "schema":  # of a store that is not ours, or of tables that are not known here, only the pages can be judged
                looks_left = {"integrity"}


def _schema(conn: sqlite3.Connection, path: Path) -> StateFinding:
    version = schema_version(conn, path)
    later = "" if version == SCHEMA_VERSION else f"; the next apply brings it to {SCHEMA_VERSION}"
    return StateFinding("schema", StateLevel.OK, f"version {version}{later}" if version else "empty file, nothing applied yet")


def _integrity(conn: sqlite3.Connection, path: Path) -> StateFinding:
    said = [str(row[0]) for row in conn.execute(f"PRAGMA integrity_check({MOST_TOLD})")]
    if said == ["ok"]:
        return StateFinding("integrity", StateLevel.OK, "every page and index is whole")
    return StateFinding("integrity", StateLevel.ERROR, f"the file is damaged: {'; '.join(said)}", _RESTORE)


def _foreign_keys(conn: sqlite3.Connection, path: Path) -> StateFinding:
    lost = len(conn.execute("PRAGMA foreign_key_check").fetchmany(MOST_TOLD))
    if not lost:
        return StateFinding("foreign keys", StateLevel.OK, "every journal row has its run")
    return StateFinding("foreign keys", StateLevel.ERROR, f"{lost} or more journal rows have no run", _RESTORE)


def _rows(conn: sqlite3.Connection, path: Path) -> StateFinding:
    with _as_known_here(conn, path) as now:
        if now is None:
            return StateFinding("rows", StateLevel.OK, "none yet")
        read_lease(now)
        return check_rows(now, _RESTORE)


def _numbers(conn: sqlite3.Connection, path: Path) -> StateFinding:
    with _as_known_here(conn, path) as now:
        return check_numbers(now, _RESTORE) if now is not None else StateFinding("numbers", StateLevel.OK, "none yet")


def _as_known_here(conn: sqlite3.Connection, path: Path) -> AbstractContextManager[sqlite3.Connection | None]:
    """The state in the schema of this program; None where nothing was applied yet."""
    version = schema_version(conn, path)
    if version == 0:
        return nullcontext(None)
    return closing(migrated_copy(conn, path)) if version < SCHEMA_VERSION else nullcontext(conn)


def _mode(conn: sqlite3.Connection, path: Path) -> StateFinding:
    (mode,) = conn.execute("PRAGMA journal_mode").fetchone()
    if mode == "wal":
        return StateFinding("journal mode", StateLevel.OK, "write-ahead log")
    return StateFinding(
        "journal mode", StateLevel.WARNING, f"{mode}, not the write-ahead log", "the next apply sets it; a backup has it so until then"
    )


def _log(conn: sqlite3.Connection, path: Path) -> StateFinding:
    lease, log = read_lease(conn) if schema_version(conn, path) else None, look_at_log(path)
    if log.missing and lease is not None:
        what = f"{log.path.name} is gone or empty while a run holds the lock: what that run wrote last is lost"
        return StateFinding(
            "log", StateLevel.ERROR, what, "put it back beside the state if you moved it; else plan, which finds out by probing"
        )
    if log.unreadable:
        return StateFinding(
            "log", StateLevel.ERROR, f"{log.path.name} cannot be read, so SQLite leaves all of it out", "plan: it finds out by probing"
        )
    if log.cut:
        what = f"{log.path.name} is torn: its last {log.cut} pages are of no whole commit and do not count"
        return StateFinding("log", StateLevel.WARNING, what, "plan: it finds out by probing what was done last")
    return StateFinding("log", StateLevel.OK, "none, all is in the file" if log.missing else f"{log.commits} whole commits")


def _permissions(path: Path) -> StateFinding:
    loose, file = [], followed(path)
    for each in (file, log_path(file), file.with_name(file.name + "-shm")):
        if each.exists():
            seen = each.stat()
            if seen.st_mode & 0o077:
                loose.append(f"{each.name} is open to others (mode {stat.S_IMODE(seen.st_mode):04o})")
            if hasattr(os, "getuid") and seen.st_uid != os.getuid():
                loose.append(f"{each.name} belongs to user id {seen.st_uid}")
    loose += [each for each in unsafe_access(path) if each.startswith((ITS_FOLDER, ON_ITS_WAY))]
    if not loose:
        return StateFinding("permissions", StateLevel.OK, "for its owner alone")
    return StateFinding("permissions", StateLevel.WARNING, ", ".join(loose), f"chmod 600 {path.name}, chmod 700 for the folder")


def has_wal_reset_fault(version: tuple[int, ...]) -> bool:
    """SQLite 3.7.0 to 3.51.2 may, very rarely, damage a file when two connections reset the log at once; 3.50.7 and 3.44.6 have the repair
    too (sqlite.org/wal.html, "the WAL-reset bug")."""
    repaired = version >= (3, 51, 3) or (3, 50, 7) <= version < (3, 51) or (3, 44, 6) <= version < (3, 45)
    return version >= (3, 7) and not repaired


def _sqlite(version: tuple[int, ...]) -> StateFinding:
    name = ".".join(map(str, version))
    if not has_wal_reset_fault(version):
        return StateFinding(SQLITE, StateLevel.OK, name)
    what = f"{name} has the WAL-reset fault, which may very rarely damage a file that two processes write to at once"
    return StateFinding(SQLITE, StateLevel.WARNING, what, "use a Python with SQLite 3.51.3 (or 3.50.7, 3.44.6); keep backups")


def _rescues(path: Path) -> Iterator[StateFinding]:
    place = rescue_place(path)
    for rescue in find_rescues(place):
        yield StateFinding("rescue", StateLevel.WARNING, f"{rescue} waits to be read in", "gpurec state recover")
    yield from check_tickets(place)


def _from(error: StateError, name: str) -> StateFinding:
    first = error.problems[0]
    return StateFinding(name, StateLevel.ERROR, first.what, first.hint)
