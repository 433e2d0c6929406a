"""What agents mean for the board before anything is placed: which nodes run containers, and which cards are given away already."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from reconciler.capacity import GivenCard
from reconciler.fleet import (
    AGENT,
    AGENTS,
    SERVICES,
    Applied,
    Desired,
    Fleet,
    ResourceFacts,
    own_card_of,
    parse_agent_address,
)
from reconciler.planning.plan import kind_of
from reconciler.planning.resource import anywhere_on


def hosts_of(fleet: Fleet) -> frozenset[str]:
    """The nodes that run containers."""
    return frozenset(name for name, node in fleet.nodes.items() if node.docker is not None)


def away_of(fleet: Fleet, seen: Mapping[str, ResourceFacts]) -> frozenset[str]:
    """Those whose daemon was asked in vain: nothing new is put there."""
    return frozenset(name for name in hosts_of(fleet) if (one := seen.get(anywhere_on(AGENT, name))) is not None and one.exists is None)


def given_cards(desired: Desired, applied: Applied, seen: Mapping[str, ResourceFacts]) -> Iterator[GivenCard]:
    """The cards that applied agents were given. One stays where the files still ask for its agent there, with a card."""
    wanted = {spec.name: spec for spec in (*AGENTS.of(desired), *SERVICES.of(desired))}
    for address, row in applied.resources.items():
        if kind_of(address) != AGENT or (own := own_card_of(row)) is None:
            continue
        name, _, node = parse_agent_address(address)
        spec, found = wanted.get(name), seen.get(address)
        stays = spec is not None and node in spec.nodes and spec.takes_card
        running = found is not None and found.exists is True and found.fields.get("state") == "running"
        yield GivenCard(address, node, *own, running=running, stays=stays)
