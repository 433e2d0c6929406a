"""Which fleet a state is of. One state serves one fleet: for another one, all that the first owns would be there to be unloaded."""

from __future__ import annotations

from shlex import quote

from reconciler.fleet import Place, Problem, StateError
from reconciler.state.sql.connection import Connection, put

KEY = "fleet"
"""Of the table `meta`. A state of before this key says nothing, and becomes that of the first fleet that is applied with it."""


INVENTORY = "inventory"
"""The key of the inventory that the fleet was last applied with, where its name is not its own: many a folder has a `hosts.yaml`."""


class OtherFleet(StateError):
    """The state is of another fleet than the one that is asked about."""


def read_fleet(conn: Connection) -> str | None:
    """The name of the fleet that the store is of; None where it does not say."""
    row = conn.execute("SELECT value FROM meta WHERE key = ?", (KEY,)).fetchone()
    return None if row is None else str(row[0])


def refuse_other_fleet(conn: Connection, where: str, fleet: str | None) -> None:
    """Raises OtherFleet where the store says that it is of another fleet than `fleet` (None: of any)."""
    mine = read_fleet(conn) if fleet is not None else None
    if fleet is None or mine is None or mine == fleet:
        return
    rename = f"gpurec state rename-fleet {quote(mine)} {quote(fleet)}"
    hint = f"name the state of {fleet} with --state or GPUREC_STATE; or, if the fleet {mine} is called {fleet} now, run {rename}"
    what = f"this is the state of the fleet {mine}, and the command is for the fleet {fleet}"
    raise OtherFleet(Problem(what, Place(where), hint))


def refuse_other_inventory(conn: Connection, where: str, fleet: str, inventory: str | None) -> None:
    """Raises OtherFleet where the store was applied with another inventory than `inventory` (None: any)."""
    row = conn.execute("SELECT value FROM meta WHERE key = ?", (INVENTORY,)).fetchone()
    if row is None or inventory is None or row[0] == inventory:
        return
    what = f"this is the state of the fleet {fleet} of {row[0]}, and the command is for {inventory}"
    hint = f"name the fleet: --fleet {quote(fleet)} where it is the same one by another inventory, else --fleet with a name of its own"
    raise OtherFleet(Problem(what, Place(where), hint))


def write_inventory(conn: Connection, inventory: str | None) -> None:
    """Keeps which inventory the fleet was applied with; None: its own, in the workspace."""
    conn.execute("DELETE FROM meta WHERE key = ?", (INVENTORY,))
    if inventory is not None:
        put(conn, "meta", ("key", "value"), ("key",), [(INVENTORY, inventory)])


def write_fleet(conn: Connection, fleet: str) -> None:
    put(conn, "meta", ("key", "value"), ("key",), [(KEY, fleet)])
