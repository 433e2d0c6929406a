"""The table of frames. It is written without the lease, since nothing else depends on it, and only while nobody has the lease: a connection
that closes after a run that died would fold that run's log away, and with it what tells whether the log was whole."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from reconciler.fleet import Frame, HistoryBounds, StateError
from reconciler.state.frames import Kept, change_of, pack, renamed, unpack
from reconciler.state.lease import iso, refuse_if_held
from reconciler.state.process import this_process
from reconciler.state.sqlite.connection import followed, open_for_reading, open_for_writing, sqlite_said
from reconciler.state.sqlite.fleet_name import read_fleet, refuse_other_fleet, write_fleet
from reconciler.state.sqlite.lease import read_lease
from reconciler.state.sqlite.row_errors import decoding
from reconciler.state.sqlite.schema import migrate, schema_version


def frame_of(row: tuple[int, int, bytes]) -> Frame:
    """The frame of a row (span, at, body). Raises UndecodableRow."""
    span, at, body = row
    with decoding("frames"):
        return unpack(at, span, body)


def read_keys(conn: sqlite3.Connection, spans: Collection[int], since: int) -> list[tuple[int, int]]:
    """Span and time of the frames of these spans that end after `since`, the oldest first."""
    rows = conn.execute("SELECT span, at FROM frames WHERE at + span >= ? ORDER BY at, span DESC", (since,))
    return [(span, at) for span, at in rows if span in spans]


def read_frames(conn: sqlite3.Connection, keys: Collection[tuple[int, int]]) -> Iterator[Frame]:
    """One after the other; one that is gone meanwhile is passed over."""
    for key in keys:
        row = conn.execute("SELECT span, at, body FROM frames WHERE span = ? AND at = ?", key).fetchone()
        if row is not None:
            yield frame_of(row)


def keep_looks(path: Path, looks: Sequence[Frame], *, fleet: str, bounds: HistoryBounds, new_folder: bool = False) -> str | None:
    """Adds looks to the history of a store, which is set up where missing; says so then.

    Raises LockHeld while a run has the lease: the looks are to be kept until it is over. Raises StateError when the store cannot be
    written, is of another fleet, or has the lease of a run that died.
    """
    path, now = followed(path), datetime.now(UTC)
    if path.is_file() and path.stat().st_size:
        with closing(open_for_reading(path)) as conn, sqlite_said(path):
            if schema_version(conn, path):
                refuse_other_fleet(conn, path, fleet)
                if (lease := read_lease(conn)) is not None:
                    refuse_if_held(lease, path, now, this_process())
                    what = f"no history is kept while a run that died holds the lock: {lease.sentence()}"
                    raise StateError.of(what, str(path), "the next apply takes it over; gpurec lock release breaks it")
    with closing(open_for_writing(path, new_folder)) as conn, sqlite_said(path):
        new = schema_version(conn, path) == 0
        migrate(conn, path, iso(now))
        conn.execute("BEGIN IMMEDIATE")
        try:
            if read_fleet(conn) is None and new:
                write_fleet(conn, fleet)
            write_looks(conn, looks, bounds)
            conn.execute("COMMIT")
        except BaseException:
            if conn.in_transaction:
                conn.execute("ROLLBACK")
            raise
    return f"set up a new state for the fleet {fleet}: {path}" if new else None


def write_looks(conn: sqlite3.Connection, looks: Sequence[Frame], bounds: HistoryBounds) -> None:
    """Writes looks, the means that they complete, and forgets what is old, inside the caller's transaction."""
    there = [Kept(*row) for row in conn.execute("SELECT span, at, length(body) FROM frames")]
    change = change_of(looks, there, lambda keys: list(read_frames(conn, keys)), bounds)
    conn.executemany("DELETE FROM frames WHERE span = ? AND at = ?", change.gone)
    _write(conn, change.new)


def rename_in_frames(conn: sqlite3.Connection, old: str, new: str) -> None:
    """Gives the samples of a node to its new name."""
    keys = conn.execute("SELECT span, at FROM frames").fetchall()
    for frame in read_frames(conn, keys):
        if (now := renamed(frame, old, new)) != frame:
            _write(conn, [now])


def _write(conn: sqlite3.Connection, frames: Iterable[Frame]) -> None:
    conn.executemany("INSERT OR REPLACE INTO frames VALUES (?, ?, ?)", ((one.span, one.at, pack(one)) for one in frames))
