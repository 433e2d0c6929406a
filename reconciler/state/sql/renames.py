"""The nodes that were renamed, as rows."""

from __future__ import annotations

from collections.abc import Sequence

from reconciler.state.renames import Rename
from reconciler.state.sql.connection import Connection


def read_renames(conn: Connection) -> Sequence[Rename]:
    """All of them, oldest first."""
    return tuple(Rename(*row) for row in conn.execute("SELECT run_id, serial, old, new FROM renames ORDER BY run_id"))
