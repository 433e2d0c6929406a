"""Agents placed on small fleets, in a line each."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "planning"))
from planning.fleets import GIB, NOW, facts, fleet, node

from reconciler.capacity import GivenCard, charge_given, set_up
from reconciler.fleet import (
    AGENTS,
    OWN_BYTES,
    OWN_CARD,
    USES,
    AgentSpec,
    Applied,
    AppliedResource,
    ContainerSpec,
    Desired,
    Fleet,
    FleetFacts,
    GpuRequirement,
    own_card_of,
    parse_agent_address,
)
from reconciler.placement import place_most
from reconciler.placement.agents import AgentPlacement, Hosts, place_agents

__all__ = ["GIB", "NOW", "agent", "facts", "fleet", "kept", "node", "placed", "uuids", "where"]


def agent(name: str, nodes: str, **fields: object) -> AgentSpec:
    """An agent on these nodes (a letter each)."""
    if "each" in fields:
        fields["replicas"] = None
    if "vram" in fields:
        fields["requirement"] = GpuRequirement(fields.pop("vram"))  # type: ignore[arg-type]
    return AgentSpec(name, tuple(nodes), ContainerSpec("", "agent:1", "", ""), ",".join(nodes), **fields)  # type: ignore[arg-type]


def uuids(seen: FleetFacts, **temperatures: float) -> FleetFacts:
    """The same facts with a UUID for each card, and the temperature of each node's cards where it is given."""
    nodes = {}
    for name, one in seen.nodes.items():
        cards = tuple(replace(card, uuid=f"GPU-{name}{card.index}", temperature=temperatures.get(name)) for card in one.cards or ())
        nodes[name] = replace(one, cards=cards)
    return FleetFacts(seen.at, nodes)


def placed(
    of: Fleet,
    desired: Desired,
    *agents: AgentSpec,
    seen: FleetFacts | None = None,
    before: Applied | None = None,
    hosts: str | None = None,
    running: bool = True,
    selected: frozenset[str] | None = None,
    away: str = "",
) -> AgentPlacement:
    seen = seen or uuids(facts(of, installed=[model.name for model in desired.models]))
    before = before or Applied()
    desired = replace(desired, sections={AGENTS.key: agents})

    def board():
        board = set_up(of, seen, desired.limits)
        rows = [(address, row, own_card_of(row)) for address, row in before.resources.items()]
        charge_given(
            board,
            [GivenCard(at, parse_agent_address(at)[2], *own, running=running, stays=True) for at, _, own in rows if own is not None],
        )
        return board

    placement = place_most(board, desired, before)
    result = place_agents(placement, desired, before, Hosts(frozenset(of.nodes if hosts is None else hosts), frozenset(away), selected))
    assert all(card.free >= 0 for card in placement.board.cards if card.usable is not None)
    return result


def where(of: AgentPlacement) -> dict[str, str | None]:
    """What each agent uses, by address: its engine, the UUID of its card, or nothing."""
    return {
        one.address: one.offer.where if one.offer is not None else one.card.facts.uuid if one.card is not None else None
        for one in of.places
    }


def kept(of: AgentPlacement, before: Applied | None = None) -> Applied:
    """The state after these places were applied."""
    rows = {}
    for one in of.places:
        fields: dict[str, str | int] = {}
        if one.offer is not None:
            fields[USES] = one.offer.where
        if one.card is not None:
            fields |= {OWN_CARD: str(one.card.facts.uuid), OWN_BYTES: one.card_bytes}
        rows[one.address] = AppliedResource(one.address, fields, serial=1)
    return replace(before or Applied(), resources=rows)
