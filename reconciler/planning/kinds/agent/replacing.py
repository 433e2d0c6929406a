"""Which agents with a card of their own may run beside the container that they replace, by the board. Pure."""

from __future__ import annotations

from collections.abc import Set

from reconciler.capacity import Card, Promised
from reconciler.fleet import AGENT, own_card_of
from reconciler.placement.agents import AgentPlace
from reconciler.planning.containers import SPEC
from reconciler.planning.kinds.agent.container import container_of
from reconciler.planning.kinds.model.step import ModelStep
from reconciler.planning.plan import kind_of
from reconciler.planning.resource import AfterPlan


def with_room_for_both(after: AfterPlan) -> Set[str]:
    """The agents whose own card has room for them and for the containers that they replace, whatever of the plan is done by then.

    The room is that after the plan, without what leaves the card at some time of it. What one of them is granted the next one has not:
    those that the files change come before those that may only have drifted. While models come to a node, or go, none is granted any.
    """
    busy = {step.node for step in after.steps if isinstance(step, ModelStep)}
    placed = {place.address: place for place in after.agents.places if place.card is not None}
    promised = Promised()
    for address, row in after.applied.resources.items():
        if kind_of(address) != AGENT or (own := own_card_of(row)) is None:
            continue
        stays = placed.get(address)
        if stays is None or _uuid(stays.card) != own[0]:
            promised.add(address.rpartition("@")[2], *own)

    def drifted(place: AgentPlace) -> bool:
        row = after.applied.resources.get(place.address)
        return row is None or row.fields.get(SPEC) == container_of(after.fleet.name, place).hash

    found: set[str] = set()
    for place in sorted(placed.values(), key=lambda place: (drifted(place), place.address)):
        before = after.applied.resources.get(place.address)
        own = own_card_of(before) if before is not None else None
        if own is None or place.card is None or place.node in busy:
            continue
        if _uuid(place.card) != own[0] or promised.leaves(place.card, *own):
            promised.add(place.node, *own)
            found.add(place.address)
    return found


def _uuid(card: Card | None) -> str | None:
    return card.facts.uuid if card is not None and card.facts is not None else None
