"""What is alike on many nodes, told once: a large plan is read by what is done, not by how often."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import replace

from reconciler.planning.plan import CardBalance, Step
from reconciler.value_class import value_class
from reconciler.views.step_words import cards_of, changed_fields, reason_of, remarks, size_of, source_of

FEW_NODES = 12
"""Of so many nodes each is told by itself."""


@value_class
class AlikeSteps:
    """A change that is made `count` times, on so many `nodes`; `first` is the first of them."""

    first: Step
    what: str
    """Its address with `*` for the node."""
    count: int
    nodes: int


@value_class
class AlikeNodes:
    """Nodes with the same steps; `steps` are those of the first."""

    nodes: Sequence[str]
    steps: Sequence[Step]


def alike_steps(steps: Iterable[Step]) -> list[AlikeSteps]:
    """What is done, each once, in the order of the plan."""
    found: dict[Hashable, list[Step]] = defaultdict(list)
    for step in steps:
        found[step.action, address_without_node(step), size_of(step), _elsewhere(reason_of(step), step.node)].append(step)
    return [AlikeSteps(some[0], address_without_node(some[0]), len(some), len({one.node for one in some})) for some in found.values()]


def alike_nodes(steps: Iterable[Step]) -> list[AlikeNodes]:
    """The nodes with changes, in the order of their first steps; those of which a view would say the same in one."""
    by_node: dict[str, list[Step]] = defaultdict(list)
    for step in steps:
        by_node[step.node].append(step)
    if len(by_node) <= FEW_NODES:
        return [AlikeNodes((node,), some) for node, some in by_node.items()]
    found: dict[Hashable, list[str]] = defaultdict(list)
    for node, some in by_node.items():
        own = {step.id: at for at, step in enumerate(some)}
        found[tuple(_told(step, own) for step in some)].append(node)
    return [AlikeNodes(nodes, by_node[nodes[0]]) for nodes in found.values()]


def alike_cards(cards: Sequence[CardBalance]) -> list[tuple[CardBalance, int]]:
    """Cards of which a view would say the same but for their node, each with how many there are."""
    if len({card.node for card in cards}) <= FEW_NODES:
        return [(card, 1) for card in cards]
    found: dict[Hashable, list[CardBalance]] = defaultdict(list)
    for card in cards:
        found[replace(card, node="")].append(card)
    return [(some[0], len(some)) for some in found.values()]


def and_alike(others: int) -> str:
    """Behind the name of a node: how many others have the same steps."""
    return f" and {others:,} alike, each" if others else ""


def address_without_node(step: Step) -> str:
    """The address of what it changes with `*` for its node."""
    name, _, place = step.address.rpartition("@")
    node, slash, engine = place.partition("/")
    return f"{name}@*{slash}{engine}" if node == step.node else step.address


def _told(step: Step, own: dict[str, int]) -> Hashable:
    """All that a view says of a step, with its node taken out; what it needs on the same node is told by its place there."""
    words = (step.address, reason_of(step), *(word for pair in (*changed_fields(step), *remarks(step)) for word in pair), *step.lines())
    needs = tuple(own.get(need, need) for need in step.needs)
    told = (step.action, size_of(step), source_of(step), cards_of(step), step.seconds, needs)
    return (*told, *(_elsewhere(text, step.node) for text in words))


def _elsewhere(text: str, node: str) -> str:
    """A text without the name of the node where it is said."""
    return re.sub(rf"(?<![\w.-]){re.escape(node)}(?![\w-])", "\0", text) if node in text else text
