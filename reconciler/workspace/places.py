"""Where a host, one of its engines, or something that is wanted stands in the files. Looked up only where something is wrong with it."""

from __future__ import annotations

from reconciler.fleet import EngineId, Place
from reconciler.workspace.engines import URL
from reconciler.workspace.inventory import Inventory
from reconciler.workspace.nodes import ENGINES, OWN
from reconciler.workspace.tree import ListNode, MapNode, Node, ScalarNode


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


def wanted_place(declared: MapNode | None, section: str, name: str) -> Place | None:
    """The position of the entry of `models`, `agents` or `services` with this name in the merged files of a desired state; of a model that
    is in `priority_models` alone its line there. None where the files do not ask for it."""
    entries = _below(declared, section)
    found = entries.entries.get(name) if isinstance(entries, MapNode) else None
    if found is not None:
        return found[0].place
    listed = _below(declared, "priority_models") if section == "models" else None
    items = listed.items if isinstance(listed, ListNode) else []
    return next((item.place for item in items if isinstance(item, ScalarNode) and item.text == name), None)


def _below(node: Node | None, key: str | None) -> Node | None:
    return node.get(key) if isinstance(node, MapNode) and key is not None else None


def _declaration(engines: Node | None, instance: str) -> str | None:
    """The engine of which this is an instance: its name goes on after a hyphen."""
    words = [word for word in engines.entries if isinstance(word, str)] if isinstance(engines, MapNode) else []
    return max((word for word in words if instance.startswith(f"{word}-")), key=len, default=None)
