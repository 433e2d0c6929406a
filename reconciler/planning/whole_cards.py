"""Cards of a cluster's nodes, each of which the cluster gives to one pod, or to as many as it has shares: who comes too late for one. Pure.

Nothing of that is bytes: a Docker Engine gives one card to any number of containers, as long as they have room there.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import field, replace

from reconciler.capacity import CardAt, GivenCard
from reconciler.fleet import (
    Applied,
    CardFacts,
    EngineContainer,
    EngineSpec,
    Fleet,
    FleetFacts,
    NodeSpec,
    ResourceFacts,
    resource_address,
)
from reconciler.planning.kinds.engine.kind import ENGINE, own_cards
from reconciler.value_class import value_class


@value_class
class WholeCards:
    """`late` are the addresses of the engines that their cluster would give no card, with why; `left` is to how many agents it gives each
    card beside its engines. Cards of nodes that are in no cluster are not in it."""

    late: Mapping[str, str] = field(default_factory=dict)
    left: Mapping[CardAt, int] = field(default_factory=dict)

    def seen(self, found: Mapping[str, ResourceFacts]) -> Mapping[str, ResourceFacts]:
        """What was seen of resources, with why an engine that is not there cannot be made."""
        missing = {address: one for address in self.late if (one := found.get(address)) is not None and one.exists is False}
        late = {address: replace(one, reason=self.late[address]) for address, one in missing.items() if one.reason is None}
        return {**found, **late} if late else found


def whole_cards(fleet: Fleet, facts: FleetFacts, applied: Applied, given: Iterable[GivenCard]) -> WholeCards:
    """Who has a card keeps it: agents that stay with theirs, then engines that were applied, then those that are new, by name."""
    late: dict[str, str] = {}
    left: dict[CardAt, int] = {}
    staying: dict[str, list[GivenCard]] = defaultdict(list)
    for one in given:
        if one.stays:
            staying[one.node].append(one)
    for name, node in fleet.nodes.items():
        seen = facts.nodes.get(name)
        if node.docker is None or node.docker.names_cards or seen is None or seen.cards is None:
            continue
        most = {card.index: card.shares for card in node.gpus or ()}
        pods = {card.index: [one.address for one in staying[name] if one.uuid == card.uuid] for card in seen.cards}
        agents = {index: len(addresses) for index, addresses in pods.items()}
        for address, engine in sorted(_engines(node), key=lambda one: (one[0] not in applied.resources, one[0])):
            cards = own_cards(facts, engine) or ()
            full = next((card for card in cards if len(pods[card.index]) >= most.get(card.index, 1)), None)
            if full is not None:
                late[address] = _why(name, full, pods[full.index], most.get(full.index, 1))
                continue
            for card in cards:
                pods[card.index].append(address)
        left |= {(name, index): most.get(index, 1) - len(addresses) + agents[index] for index, addresses in pods.items()}
    return WholeCards(late, left)


def _engines(node: NodeSpec) -> Iterable[tuple[str, EngineSpec]]:
    for engine in node.engines:
        if engine.owned is not None and isinstance(engine.owned.start, EngineContainer):
            yield resource_address(ENGINE, engine.id.engine, node.name), engine


def _why(node: str, card: CardFacts, pods: Iterable[str], shares: int) -> str:
    gives = "a whole card to one pod" if shares == 1 else f"each of the {shares} shares of a card to one pod"
    have = ", ".join(pods)
    advice = "bind it to another card (`gpus:`), or let the cluster share its cards (time-slicing, MPS)"
    return f"its cluster gives {gives}, and card {card.index} of {node} is for {have}: {advice}"
