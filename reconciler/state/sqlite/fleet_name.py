"""Which fleet a state in a file is of, asked before anybody opens it."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from reconciler.fleet import StateError
from reconciler.state.sql.fleet_name import OtherFleet, refuse_other_fleet, refuse_other_inventory
from reconciler.state.sqlite.connection import followed, open_for_reading, sqlite_said
from reconciler.state.sqlite.schema import schema_version


def check_fleet(path: Path, fleet: str | None, inventory: str | None = None) -> None:
    """Raises OtherFleet where the store says that it is of another fleet, or (`inventory` not None) of another inventory. What else is
    wrong with it is found by whoever opens it."""
    if fleet is None or not path.exists():
        return
    try:
        with closing(open_for_reading(followed(path))) as conn, sqlite_said(path):
            if schema_version(conn, path):
                refuse_other_fleet(conn, str(path), fleet)
                refuse_other_inventory(conn, str(path), fleet, inventory)
    except OtherFleet:
        raise
    except StateError:
        return
