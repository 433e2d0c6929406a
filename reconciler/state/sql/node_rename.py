"""A renamed node in every table that knows it."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from reconciler.state.node_rename import NodeMove
from reconciler.state.renames import address_now
from reconciler.state.sql.connection import Connection, put
from reconciler.state.sql.entries import Recorded, ResourcesRecorded, write_entry
from reconciler.state.sql.frames import rename_in_frames
from reconciler.state.sql.rows import node_body, read_meta


def write_move(conn: Connection, move: NodeMove, run_id: int, move_serial: Callable[[], int]) -> None:
    """Writes all of a move inside the caller's transaction: what is owned, what was seen, what befell replicas, since when engines are
    silent, how hot cards were, its tags, and the history of its facts. The history of runs and earlier serials keep the name of then, and
    are read through the rename."""
    old, new = move.old, move.new
    write_entry(conn, Recorded(move.replicas, move.gone), move_serial)
    write_entry(conn, ResourcesRecorded(move.resources, move.gone_resources), move_serial)
    conn.execute("DELETE FROM facts WHERE node = ?", (old,))
    if move.facts is not None:
        put(conn, "facts", ("node", "body"), ("node",), [(new, node_body(move.facts))])
    addresses = [str(address) for (address,) in conn.execute("SELECT DISTINCT address FROM incidents")]
    renamed = [(moved, address) for address in addresses if (moved := address_now(address, {old: new})) != address]
    for moved, address in renamed:
        conn.execute(
            "DELETE FROM incidents WHERE address = ? AND (code, at) IN (SELECT code, at FROM incidents WHERE address = ?)", (moved, address)
        )
        conn.execute("UPDATE incidents SET address = ? WHERE address = ?", (moved, address))
    for table, key in (("silent", "engine"), ("tags", "engine, name"), ("heat", "gpu")):
        # The old name's rows are the ones of today; of the new name there can only be leftovers.
        conn.execute(f"DELETE FROM {table} WHERE node = ? AND ({key}) IN (SELECT {key} FROM {table} WHERE node = ?)", (new, old))  # noqa: S608
        conn.execute(f"UPDATE {table} SET node = ? WHERE node = ?", (new, old))  # noqa: S608
    rename_in_frames(conn, old, new)
    row = (run_id, int(read_meta(conn).get("serial", "0")), old, new)
    put(conn, "renames", ("run_id", "serial", "old", "new"), ("run_id",), [row])


def forget_incidents(conn: Connection, addresses: Iterable[str]) -> None:
    """Forgets what befell replicas that are no longer ours."""
    conn.executemany("DELETE FROM incidents WHERE address = ?", [(address,) for address in addresses])
