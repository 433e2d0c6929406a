"""A state copied out whole and taken back in, while others may read and write it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from reconciler.files import FileTarget, file_errors, find_target, publish, staged
from reconciler.fleet import StateError
from reconciler.state.sql.connection import Damaged
from reconciler.state.sql.rows import read_meta
from reconciler.state.sqlite.connection import followed, make_folder, open_for_reading, require_folder, sqlite_said
from reconciler.state.sqlite.opening import open_writer
from reconciler.state.sqlite.schema import migrate, schema_version
from reconciler.state.sqlite.writer import SqliteWriter
from reconciler.value_class import value_class


@value_class
class Restored:
    """What came in (`lineage`, `serial`), and the file that keeps what was there before; None where nothing was."""

    lineage: str | None
    serial: int
    kept: Path | None


def _now() -> datetime:
    return datetime.now(UTC)


def stamped(path: Path, word: str, now: datetime) -> Path:
    """`lab.db.backup-20260101T000000Z` beside the state."""
    return path.with_name(f"{path.name}.{word}-{now.astimezone(UTC):%Y%m%dT%H%M%SZ}")


def back_up(path: Path, to: Path) -> Path:
    """Writes a copy as of one moment, through SQLite's backup API, as one file of mode 0600 without anybody's lock; returns `to`.

    A link is followed, a pipe or a device is written to.

    Raises StateError where there is no state, where `to` is there already, or where it cannot be written.
    """
    if not path.exists():
        raise StateError.of("there is no state yet", str(path), "the first apply makes it")
    path = followed(path)
    target = find_target(to)
    if target.exists and not target.stream:
        raise StateError.of("this file is there already, and a backup overwrites nothing", str(to), "name another file")
    with file_errors(to), _new_file(target) as new:
        with closing(open_for_reading(path)) as conn, sqlite_said(path):
            if schema_version(conn, path) == 0:
                raise StateError.of("the state is empty: nothing was applied yet", str(path))
            _copy(conn, new)
        publish(new, target, overwrite=False, named=to)
    return to


def restore(
    path: Path,
    backup: Path,
    *,
    force: bool = False,
    new_folder: bool = False,
    command: str = "state restore",
    clock: Callable[[], datetime] = _now,
    lock_timeout: float = 0,
) -> Restored:
    """Replaces what the state holds with what a backup holds, in one transaction under the lock, and keeps the old beside it.

    Raises StateError for a backup that is damaged, of a newer gpurec or no state at all, and, without `force`, for one of another lineage
    or where the present state is damaged (which is then moved aside as it is); LockHeld when a run is on.
    """
    if not backup.exists():
        raise StateError.of("there is no such file", str(backup))
    if path.exists() and backup.samefile(path):
        raise StateError.of("this is the state itself", str(backup), "name a backup of it")
    path = followed(path)
    if not new_folder:
        require_folder(path)
    make_folder(path.parent)
    with _new_file(FileTarget(path)) as prepared:
        _prepare(backup, prepared, clock())
        try:
            return _restore_into(path, prepared, backup, force, command, clock, lock_timeout)
        except Damaged as error:
            if not force:
                raise StateError.of(
                    f"{error.problems[0].what}, so its lock and lineage cannot be compared",
                    str(path),
                    "make sure that no run is on, then use --force: it is moved aside as it is",
                ) from error
        kept = _move_aside(path, clock())
        done = _restore_into(path, prepared, backup, True, command, clock, lock_timeout)
        return Restored(done.lineage, done.serial, kept)


def _restore_into(
    path: Path, prepared: Path, backup: Path, force: bool, command: str, clock: Callable[[], datetime], lock_timeout: float
) -> Restored:
    with closing(sqlite3.connect(prepared)) as conn:
        coming = read_meta(conn)
    with open_writer(path, command=command, clock=clock, lock_timeout=lock_timeout) as state:
        assert isinstance(state, SqliteWriter)
        present = state.applied()
        if not force and present.lineage is not None and present.lineage != coming.get("lineage"):
            raise StateError.of(
                f"this is a backup of another state: its lineage is {coming.get('lineage')}, that of the state is {present.lineage}",
                str(backup),
                "use --force when you mean it",
            )
        kept = back_up(path, stamped(path, "before-restore", clock())) if present.lineage is not None else None
        state.become(prepared)
        run = state.begin_run("", "", command)
        serial = state.finish_run(run, "done")
        return Restored(state.applied().lineage, serial, kept)


def _prepare(backup: Path, prepared: Path, now: datetime) -> None:
    """A copy of the backup that nobody else can change, found sound and of this program's schema."""
    try:
        with closing(open_for_reading(backup)) as conn, sqlite_said(backup):
            if schema_version(conn, backup) == 0:
                raise StateError.of("this backup is empty", str(backup))
            _copy(conn, prepared)
    except Damaged as error:
        raise StateError.of("this is no backup of a state, or a damaged one", str(backup), "take another one") from error
    with closing(sqlite3.connect(prepared, isolation_level=None)) as conn, sqlite_said(backup):
        said = [str(row[0]) for row in conn.execute("PRAGMA integrity_check(3)")]
        if said != ["ok"]:
            raise StateError.of(f"this backup is damaged: {'; '.join(said)}", str(backup), "take another one")
        if conn.execute("PRAGMA foreign_key_check").fetchone() is not None:
            raise StateError.of("this backup is damaged: journal rows have no run", str(backup), "take another one")
        migrate(conn, backup, now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"))


def _copy(conn: sqlite3.Connection, to: Path) -> None:
    """Fills an empty file with what `conn` reads, of one moment, complete in itself and without a lock."""
    with closing(sqlite3.connect(to, isolation_level=None)) as copy, sqlite_said(to):
        conn.backup(copy)
        copy.execute("UPDATE lease SET owner = NULL")
        copy.execute("PRAGMA journal_mode = DELETE")
        copy.execute("PRAGMA synchronous = FULL")


def _move_aside(path: Path, now: datetime) -> Path:
    """Takes a damaged state out of the way, with its log, for whoever can still read something of it."""
    kept = stamped(path, "damaged", now)
    for ending in ("-shm", "-wal", ""):
        with suppress(FileNotFoundError):
            path.with_name(path.name + ending).rename(kept.with_name(kept.name + ending))
    return kept


@contextmanager
def _new_file(target: FileTarget) -> Iterator[Path]:
    """An empty file of mode 0600 beside the target, gone at the end unless it was moved, with all that SQLite puts beside it."""
    with staged(target) as new:
        try:
            yield new
        finally:
            for ending in ("-journal", "-wal", "-shm"):
                new.with_name(new.name + ending).unlink(missing_ok=True)
