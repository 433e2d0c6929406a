"""A renamed node in every table that knows it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable

from reconciler.state.node_rename import Move
from reconciler.state.renames import address_now
from reconciler.state.sqlite.entries import Recorded, ResourcesRecorded, write_entry
from reconciler.state.sqlite.frames import rename_in_frames
from reconciler.state.sqlite.rows import node_body


def write_move(conn: sqlite3.Connection, move: Move, run_id: int, move_serial: Callable[[], int]) -> None:
    """Writes all of a move inside the caller's transaction: what is owned, what was seen, what befell replicas, since when engines are
    silent, how hot cards were, its tags, and the history of its facts. The history of runs and earlier serials keep the name of then, and
    are read through the rename."""
    old, new = move.old, move.new
    write_entry(conn, Recorded(move.replicas, move.gone), move_serial)
    write_entry(conn, ResourcesRecorded(move.resources, move.gone_resources), move_serial)
    conn.execute("DELETE FROM facts WHERE node = ?", (old,))
    if move.facts is not None:
        conn.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (new, node_body(move.facts)))
    addresses = [str(address) for (address,) in conn.execute("SELECT DISTINCT address FROM incidents")]
    renamed = [(moved, address) for address in addresses if (moved := address_now(address, {old: new})) != address]
    conn.executemany("UPDATE OR REPLACE incidents SET address = ? WHERE address = ?", renamed)
    conn.execute("UPDATE OR REPLACE silent SET node = ? WHERE node = ?", (new, old))
    conn.execute("UPDATE OR REPLACE tags SET node = ? WHERE node = ?", (new, old))
    conn.execute("UPDATE OR REPLACE heat SET node = ? WHERE node = ?", (new, old))
    rename_in_frames(conn, old, new)
    (serial,) = conn.execute("SELECT ifnull(max(CAST(value AS INTEGER)), 0) FROM meta WHERE key = 'serial'").fetchone()
    conn.execute("INSERT OR REPLACE INTO renames VALUES (?, ?, ?, ?)", (run_id, serial, old, new))


def forget_incidents(conn: sqlite3.Connection, addresses: Iterable[str]) -> None:
    """Forgets what befell replicas that are no longer ours."""
    conn.executemany("DELETE FROM incidents WHERE address = ?", [(address,) for address in addresses])
