"""Nodes that got another name: what an earlier run did is read with the name of now. The rows of history stay as they were written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from reconciler.fleet import EngineId, parse_replica_address, replica_address
from reconciler.value_class import value_class


@value_class
class Rename:
    """The run `run_id` gave the node `old` the name `new`, and came to `serial`."""

    run_id: int
    serial: int
    old: str
    new: str


def names_now(renames: Iterable[Rename]) -> Mapping[str, str]:
    """The names of today of nodes that were renamed, by those that they had before the first of `renames` (oldest first)."""
    now: dict[str, str] = {}
    for rename in renames:
        for earlier, name in now.items():
            if name == rename.old:
                now[earlier] = rename.new
        now.setdefault(rename.old, rename.new)
    return now


def address_now(address: str, names: Mapping[str, str]) -> str:
    """A replica's address with its node called as it is now; what is no address of a replica stays as it is."""
    try:
        model, at = parse_replica_address(address)
    except ValueError:
        return address
    return replica_address(model, EngineId(names[at.node], at.engine)) if at.node in names else address
