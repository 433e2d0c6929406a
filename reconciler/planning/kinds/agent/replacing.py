"""Which agents with a card of their own may run beside the container that they replace, by the board. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set

from reconciler.capacity import Card, Replacement, with_room_for_both
from reconciler.fleet import AGENT, Applied, own_card_of
from reconciler.placement.agents import AgentPlace
from reconciler.planning.containers import SPEC
from reconciler.planning.kinds.agent.container import container_of
from reconciler.planning.kinds.engine.kind import ENGINE
from reconciler.planning.kinds.model.step import ModelStep
from reconciler.planning.plan import Action, Step, kind_of
from reconciler.planning.resource import AfterPlan


def leaving_cards(places: Sequence[AgentPlace], applied: Applied) -> Iterator[tuple[str, str, int]]:
    """The cards that agents leave: the node, the card's UUID, and the bytes that they are charged with there."""
    stay = {place.address: _uuid(place.card) for place in places}
    for address, row in applied.resources.items():
        own = own_card_of(row) if kind_of(address) == AGENT else None
        if own is not None and stay.get(address) != own[0]:
            yield address.rpartition("@")[2], *own


def beside_their_old(after: AfterPlan) -> Set[str]:
    """The agents whose own card has room for them and for the containers that they replace, whatever of the plan is done by then. While
    models or engines come to a node, or go, none is granted any."""
    busy = {step.node for step in after.steps if isinstance(step, ModelStep) or _moves_an_engine(step)}
    return with_room_for_both(tuple(_replacements(after, busy)), after.spare)


def _replacements(after: AfterPlan, busy: Set[str]) -> Iterator[Replacement]:
    for place in after.agents.places:
        row = after.applied.resources.get(place.address)
        own = own_card_of(row) if row is not None else None
        if row is None or own is None or place.card is None or place.node in busy:
            continue
        new = (place.node, place.card.index)
        old = new if _uuid(place.card) == own[0] else (place.node, own[0])
        drifted = row.fields.get(SPEC) == container_of(after.fleet.name, place).hash
        yield Replacement(place.address, ((old, own[1]),), {new}, drifted)


def _moves_an_engine(step: Step) -> bool:
    return kind_of(step.address) == ENGINE and step.action is not Action.ADOPT


def _uuid(card: Card | None) -> str | None:
    return card.facts.uuid if card is not None and card.facts is not None else None
