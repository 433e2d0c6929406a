"""What agents can use: the engines on which a model will be, and the cards that count them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

from reconciler.capacity import Card, EngineState
from reconciler.fleet import AgentSpec, GpuRequirement, canonical_name
from reconciler.placement.result import Placement


@dataclass(slots=True, eq=False)
class Offer:
    """What an agent can use: an engine that will serve its model under `name`, or (`slot` None) a card of its own. `cards` are those that
    count it: the ones that the model may be on, which is none where it is in RAM, or the card."""

    node: str
    where: str
    cards: tuple[Card, ...]
    slot: EngineState | None = None
    name: str = ""

    @property
    def used_fraction(self) -> float:
        if self.slot is not None:
            return self.slot.used_fraction
        return max((card.used_fraction for card in self.cards), default=0.0)


def served_by(slot: EngineState, name: str, cards: tuple[Card, ...]) -> Offer:
    """A model on an engine."""
    return Offer(slot.id.node, str(slot.id), cards, slot, name)


def own_card(card: Card) -> Offer:
    """A card for an agent alone."""
    return Offer(card.node, f"{card.node}/{card.index}", (card,))


class Offers:
    """The offers of every model that an agent names, in the order of engines; each looked up once."""

    def __init__(self, placement: Placement, wanted: Set[str]) -> None:
        self._placement = placement
        self._declared = wanted
        self._targets: dict[str, list[Offer]] | None = None
        self._residents: dict[str, list[Offer]] | None = None

    def of(self, model: str) -> Sequence[Offer]:
        """The engines on which a model will be: a desired one where it was placed, any other where a resident that stays answers to it."""
        if model in self._declared:
            if self._targets is None:
                self._targets = self._find_targets()
            return self._targets.get(model, ())
        if self._residents is None:
            self._residents = self._find_residents()
        return self._residents.get(model, ()) or self._by_canonical_name(model)

    def _find_targets(self) -> dict[str, list[Offer]]:
        found: dict[str, list[Offer]] = {}
        for target in sorted(self._placement.targets, key=lambda target: target.slot.id):
            slot = target.slot
            runner = slot.runners.get(slot.runner(target.model)) if not target.charges else None
            charged = runner.charges if runner is not None else target.charges
            cards = tuple(card for card, _ in charged if not card.is_ram) if charged else slot.cards or ()
            found.setdefault(target.model.name, []).append(served_by(slot, target.model.engine_name(slot.kind), cards))
        return found

    def _find_residents(self) -> dict[str, list[Offer]]:
        gone = self._placement.displaced | self._placement.released
        found: dict[str, list[Offer]] = {}
        staying = (one for one in self._placement.unwanted if one not in gone and not one.left_over)
        for one in sorted(staying, key=lambda one: one.slot.id):
            cards = tuple(card for card, _ in one.charges if not card.is_ram)
            for name in one.slot.identity.names(one.resident):
                found.setdefault(name, []).append(served_by(one.slot, name, cards))
        return found

    def _by_canonical_name(self, model: str) -> Sequence[Offer]:
        """Under the form that each kind of engine gives a name."""
        assert self._residents is not None
        names = sorted({canonical_name(slot.kind, model) for slot in self._placement.board})
        found = [offer for name in names for offer in self._residents.get(name, ())]
        return sorted(
            (one for one in found if one.slot is not None and canonical_name(one.slot.kind, model) == one.name), key=lambda one: one.where
        )


def unfit_card(card: Card, requirement: GpuRequirement) -> str | None:
    """Why a card does not have what is required of it; None where it has."""
    if card.is_at_fault:
        return "card_fault"
    if requirement.vram is not None:
        if card.total is None:
            return "vram_unknown"
        if card.total < requirement.vram:
            return "card_too_small"
    if requirement.compute_capability is not None:
        capability = card.facts.compute_capability if card.facts is not None else None
        if capability is None:
            return "compute_capability_unknown"
        if not requirement.compute_capability.holds(capability):
            return "compute_capability"
    return None


def unfit_offer(offer: Offer, spec: AgentSpec) -> str | None:
    """Why an agent cannot use this engine, however few others do. Where nobody knows which card the model is on, each must do."""
    if not spec.needs_card:
        return None
    if not offer.cards:
        return "not_on_gpu"
    return next((why for card in offer.cards if (why := unfit_card(card, spec.requirement)) is not None), None)


def is_full(cards: Sequence[Card], agents: Mapping[Card, int]) -> bool:
    """Whether one of these cards counts as many agents as it may."""
    return any(card.most_agents is not None and agents.get(card, 0) >= card.most_agents for card in cards)
