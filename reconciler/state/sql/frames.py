"""The table of frames: the history of facts."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence

from reconciler.fleet import Frame, HistoryBounds
from reconciler.state.frames import StoredFrame, change_of, pack, renamed, unpack
from reconciler.state.sql.connection import Connection, put
from reconciler.state.sql.row_errors import decoding


def frame_of(row: tuple[int, int, bytes]) -> Frame:
    """The frame of a row (span, at, body). Raises UndecodableRow."""
    span, at, body = row
    with decoding("frames"):
        return unpack(at, span, body)


def read_keys(conn: Connection, spans: Collection[int], since: int) -> list[tuple[int, int]]:
    """Span and time of the frames of these spans that end after `since`, the oldest first."""
    rows = conn.execute("SELECT span, at FROM frames WHERE at + span >= ? ORDER BY at, span DESC", (since,))
    return [(span, at) for span, at in rows if span in spans]


def read_frames(conn: Connection, keys: Collection[tuple[int, int]]) -> Iterator[Frame]:
    """One after the other; one that is gone meanwhile is passed over."""
    for key in keys:
        row = conn.execute("SELECT span, at, body FROM frames WHERE span = ? AND at = ?", key).fetchone()
        if row is not None:
            yield frame_of(row)


def write_looks(conn: Connection, looks: Sequence[Frame], bounds: HistoryBounds) -> None:
    """Writes looks, the means that they complete, and forgets what is old, inside the caller's transaction."""
    there = [StoredFrame(*row) for row in conn.execute("SELECT span, at, length(body) FROM frames")]
    change = change_of(looks, there, lambda keys: list(read_frames(conn, keys)), bounds)
    conn.executemany("DELETE FROM frames WHERE span = ? AND at = ?", change.gone)
    _write(conn, change.new)


def rename_in_frames(conn: Connection, old: str, new: str) -> None:
    """Gives the samples of a node to its new name."""
    keys = conn.execute("SELECT span, at FROM frames").fetchall()
    for frame in read_frames(conn, keys):
        if (now := renamed(frame, old, new)) != frame:
            _write(conn, [now])


def _write(conn: Connection, frames: Iterable[Frame]) -> None:
    put(conn, "frames", ("span", "at", "body"), ("span", "at"), [(one.span, one.at, pack(one)) for one in frames])
