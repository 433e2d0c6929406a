"""A fleet as it would be: without some nodes, with one more card, without some models. Values in, values out; nothing is guessed of it."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace
from itertools import combinations
from math import comb

from reconciler.fleet import Applied, CardFacts, Desired, Fleet, FleetFacts, ModelSpec
from reconciler.value_class import value_class


@value_class
class AddedCard:
    """One more card of a node, of so many bytes, of which nothing is used."""

    node: str
    total_bytes: int


@value_class
class World:
    """What a plan is made from, beside its policies."""

    fleet: Fleet
    desired: Desired
    facts: FleetFacts
    applied: Applied


def without_nodes(world: World, lost: Collection[str]) -> World:
    """As if these nodes were gone for good: their replicas are placed elsewhere, where there is room."""
    gone = frozenset(lost)
    return World(
        replace(world.fleet, nodes={name: node for name, node in world.fleet.nodes.items() if name not in gone}),
        replace(world.desired, models=tuple(_off(model, gone) for model in world.desired.models)),
        replace(world.facts, nodes={name: node for name, node in world.facts.nodes.items() if name not in gone}),
        replace(
            world.applied,
            replicas={address: row for address, row in world.applied.replicas.items() if row.at.node not in gone},
            resources={address: row for address, row in world.applied.resources.items() if address.rpartition("@")[2] not in gone},
        ),
    )


def _off(model: ModelSpec, gone: frozenset[str]) -> ModelSpec:
    nodes = tuple(name for name in model.nodes if name not in gone)
    return model if len(nodes) == len(model.nodes) else replace(model, nodes=nodes)


def with_card(world: World, added: AddedCard) -> World:
    """As if the node had one more card. Engines that are bound to cards by name do not get it; those over all of them do.

    Raises KeyError for a node that is not in the fleet, ValueError where its cards are not known or no engine of it takes every card.
    """
    spec, node = world.fleet.nodes[added.node], world.facts.nodes.get(added.node)
    if node is None or node.cards is None:
        raise ValueError(f"the cards of {added.node} are not known")
    if not any(engine.gpus is None for engine in spec.engines):
        raise ValueError(f"every engine of {added.node} is bound to cards by `gpus`, so none would use one more")
    index = max((card.index for card in node.cards if isinstance(card.index, int)), default=-1) + 1
    like = next(iter(node.cards), None)
    new = CardFacts(
        index,
        name=f"one more of {added.node}",
        total_bytes=added.total_bytes,
        used_bytes=0,
        foreign_bytes=0,
        compute_capability=like.compute_capability if like is not None else None,
        driver=like.driver if like is not None else None,
        float16=like.float16 if like is not None else None,
        bfloat16=like.bfloat16 if like is not None else None,
        source="what if",
    )
    nodes = {**world.facts.nodes, added.node: replace(node, cards=(*node.cards, new))}
    return replace(world, facts=replace(world.facts, nodes=nodes))


def without_models(world: World, names: Collection[str]) -> World:
    """As if the files did not ask for these models."""
    models = tuple(model for model in world.desired.models if model.name not in names)
    return replace(world, desired=replace(world.desired, models=models))


def losses(nodes: Collection[str], count: int) -> Iterator[frozenset[str]]:
    """Every set of `count` of these nodes, in order of their names."""
    return (frozenset(some) for some in combinations(sorted(nodes), count))


def losses_count(nodes: int, count: int) -> int:
    """How many sets that are."""
    return comb(nodes, count)
