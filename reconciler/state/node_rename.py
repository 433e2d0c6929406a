"""A node that got another name: what the state holds of the old one is of the new one."""

from __future__ import annotations

from dataclasses import replace

from reconciler.fleet import (
    ADOPTED,
    Applied,
    AppliedReplica,
    AppliedResource,
    EngineId,
    FleetFacts,
    NodeFacts,
    StateError,
    parse_resource_address,
    replica_address,
    resource_address,
)
from reconciler.value_class import value_class

_BEAR_THEIR_ADDRESS = ("engine", "agent")


@value_class
class NodeMove:
    """What a renamed node changes: the rows under their new addresses, the old addresses, and what was seen of it (None: nothing was)."""

    old: str
    new: str
    replicas: tuple[AppliedReplica, ...]
    gone: tuple[str, ...]
    facts: NodeFacts | None
    resources: tuple[AppliedResource, ...] = ()
    gone_resources: tuple[str, ...] = ()


def node_move(applied: Applied, facts: FleetFacts | None, old: str, new: str) -> NodeMove:
    """What is to be written when the node `old` was renamed to `new`.

    Raises StateError where nothing is known of `old`, or where `new` is known already: two nodes do not become one.
    """
    if old == new:
        raise StateError.of(f"both names are {old!r}, so there is nothing to rename", None, "name what the node is called now second")
    moving = [one for one in applied.replicas.values() if one.at.node == old]
    resources = {at: one for at, one in applied.resources.items() if parse_resource_address(at)[2] == old}
    seen = facts.nodes if facts is not None else {}
    if not moving and not resources and old not in seen:
        known = sorted({one.at.node for one in applied.replicas.values()} | set(seen))
        raise StateError.of(
            f"the state knows no node {old!r}", None, f"it knows {', '.join(known[:10])}" if known else "it holds nothing yet"
        )
    if any(one.at.node == new for one in applied.replicas.values()) or any(
        parse_resource_address(at)[2] == new for at in applied.resources
    ):
        raise StateError.of(f"the state knows a node {new!r} already", None, "forget what it holds first, with gpurec state rm")
    if new in seen:
        raise StateError.of(
            f"the state knows a node {new!r} already: an apply saw both, so they are two", None, "take one out of the inventory, and apply"
        )
    moved = tuple(sorted((_moved(one, new) for one in moving), key=lambda one: one.address))
    renamed = tuple(_resource_moved(one, new) for _, one in sorted(resources.items()))
    gone = tuple(one.address for one in moving)
    return NodeMove(old, new, moved, gone, _renamed(seen[old], new) if old in seen else None, renamed, tuple(sorted(resources)))


def _resource_moved(resource: AppliedResource, node: str) -> AppliedResource:
    """What bears its address where it is (a container, a unit) is found by that until it is made anew."""
    kind, name, _ = parse_resource_address(resource.address)
    fields = {ADOPTED: resource.address, **resource.fields} if kind in _BEAR_THEIR_ADDRESS else resource.fields
    return replace(resource, address=resource_address(kind, name, node), fields=fields)


def _moved(replica: AppliedReplica, node: str) -> AppliedReplica:
    at = EngineId(node, replica.at.engine)
    return replace(replica, address=replica_address(replica.model, at), at=at)


def _renamed(facts: NodeFacts, node: str) -> NodeFacts:
    return replace(facts, node=node, engines={name: replace(one, id=EngineId(node, name)) for name, one in facts.engines.items()})
