"""Where a host, or one of its engines, stands in an inventory. Looked up only where something is wrong with what probing saw of it."""

from __future__ import annotations

from reconciler.fleet import EngineId, Place
from reconciler.workspace.engines import URL
from reconciler.workspace.inventory import Inventory
from reconciler.workspace.nodes import ENGINES, OWN
from reconciler.workspace.tree import MapNode, Node


def place_of(inventory: Inventory, what: EngineId | str) -> Place | None:
    """The position of a host by its name, or of an engine: that of its url, else of the nearest thing around it that the files have (of an
    instance its declaration, of an engine out of a template that template). None for a host that the inventory lacks."""
    host = inventory.hosts.get(what if isinstance(what, str) else what.node)
    if host is None or isinstance(what, str):
        return host.place if host is not None else None
    variables = host.profile.variables
    _, own = variables.get(OWN, (None, None))
    _, engines = variables.get(ENGINES.key, (None, None)) if own is None else (None, _below(own, ENGINES.key) or own)
    engine = _below(engines, what.engine) or _below(engines, _declaration(engines, what.engine))
    found = _below(engine, URL.key) or engine or engines
    return found.place if found is not None else host.place


def _below(node: Node | None, key: str | None) -> Node | None:
    return node.get(key) if isinstance(node, MapNode) and key is not None else None


def _declaration(engines: Node | None, instance: str) -> str | None:
    """The engine of which this is an instance: its name goes on after a hyphen."""
    words = [word for word in engines.entries if isinstance(word, str)] if isinstance(engines, MapNode) else []
    return max((word for word in words if instance.startswith(f"{word}-")), key=len, default=None)
