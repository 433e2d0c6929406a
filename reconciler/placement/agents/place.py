"""Where each agent goes: it keeps its node and what it uses while both are right; what is missing takes what the strategy names next.

Models have their places already, so an agent only chooses among the engines that will serve its model, and takes no bytes of its own; only
an agent without a model that requires a card is charged for one. Deterministic: names, then numbers.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import field

from reconciler.capacity import Card, CardAt, CardHolding, fits_alone
from reconciler.fleet import (
    AGENT,
    AGENTS,
    OWN_CARD,
    SERVICES,
    USES,
    AgentEach,
    AgentSpec,
    Applied,
    AppliedResource,
    Desired,
    Near,
    own_card_of,
    parse_agent_address,
)
from reconciler.placement.agents.offers import Offer, Offers, is_full, own_card, unfit_card, unfit_offer
from reconciler.placement.agents.orders import AgentLoad, OfferOrder, Ranked, order_of
from reconciler.placement.agents.reasons import why_unplaced
from reconciler.placement.agents.result import AgentPlace, AgentPlacement
from reconciler.placement.result import Placement
from reconciler.value_class import value_class


@value_class
class _Applied:
    """An agent as the state has it."""

    node: str
    number: int
    row: AppliedResource


@value_class
class Hosts:
    """The nodes that run containers. Nothing new is put on those that are `away`, whose daemon cannot be asked now; outside `selected`
    (None: all are in) every agent stays as it is. `pods`: to how many agents of their own a card is given, where that is not told by its
    bytes."""

    nodes: frozenset[str]
    away: frozenset[str] = frozenset()
    selected: frozenset[str] | None = None
    pods: Mapping[CardAt, int] = field(default_factory=dict)

    @property
    def open(self) -> frozenset[str]:
        """Those that take something new."""
        return (self.nodes if self.selected is None else self.nodes & self.selected) - self.away


def place_agents(placement: Placement, desired: Desired, applied: Applied, hosts: Hosts) -> AgentPlacement:
    """The place of every agent and service, on the board on which the models are placed, which is charged with the cards that agents are
    given."""
    specs = sorted((*AGENTS.of(desired), *SERVICES.of(desired)), key=lambda spec: spec.name)
    if not specs:
        return AgentPlacement()
    placing = _Placing(placement, desired, applied, hosts)
    for spec in specs:
        placing.keep(spec)
    placing.release_leaving()
    for spec in specs:
        placing.place(spec)
    placing.result.places.sort(key=lambda place: place.address)
    placing.result.agents = placing.load.agents
    return placing.result


class _Placing:
    """Mutable and private to one run. `moving` has by agent the nodes and numbers that stay and need another engine or card."""

    def __init__(self, placement: Placement, desired: Desired, applied: Applied, hosts: Hosts) -> None:
        self.board, self.desired = placement.board, desired
        self.declared, self.hosts, self._selected = hosts.nodes, hosts.open, hosts.selected
        self._pods = dict(hosts.pods)
        self.result, self.load = AgentPlacement(), AgentLoad()
        self.offers = Offers(placement, {model.name for model in desired.wanted})
        self.rows = _rows(applied)
        self.taken: dict[str, set[tuple[str, int]]] = defaultdict(set)
        self.moving: dict[str, list[tuple[str, int]]] = defaultdict(list)
        self._fit: dict[tuple[object, ...], _Fitting] = {}
        self.alike: dict[tuple[str | None, bool], list[str]] = defaultdict(list)
        for spec in (*AGENTS.of(desired), *SERVICES.of(desired)):
            self.alike[spec.model, spec.takes_card].append(spec.name)
        self._nodes: dict[str, OfferOrder] = {}
        self._cards: dict[str, list[Card]] | None = None

    def keep(self, spec: AgentSpec) -> None:
        """What is right where it is; what stays on its node without what it used is remembered in `moving`."""
        left = spec.replicas if spec.replicas is not None else len(self.rows.get(spec.name, ()))
        for one in self.rows.get(spec.name, ()):
            at = (one.node, one.number)
            if self._selected is not None and one.node not in self._selected:
                self._put(spec, *at, self._as_applied(spec, one))
                left -= 1
                continue
            if one.node not in spec.nodes or one.node not in self.declared or (spec.each is AgentEach.NODE and one.number > 1):
                continue
            if left <= 0:
                break
            left -= 1
            offer = self._kept_offer(spec, one)
            if offer is None and spec.each is AgentEach.GPU and self._card_at(*at) is None:
                continue
            if offer is None and (spec.model is not None or spec.takes_card):
                self.moving[spec.name].append(at)
                continue
            self._put(spec, *at, offer)

    def release_leaving(self) -> None:
        """Gives back the cards of the agents that did not stay: who comes there next waits until they are gone."""
        for holding in self.board.own_cards.values():
            self.board.remove(holding)
        self.board.own_cards.clear()

    def place(self, spec: AgentSpec) -> None:
        """What has no place yet."""
        for node, number in self.moving.get(spec.name, ()):
            offer = self._on(spec, node, number)
            if offer is not None:
                self._put(spec, node, number, offer)
        if spec.each is None:
            self._place_replicas(spec)
        else:
            self._place_each(spec)

    def fitting(self, spec: AgentSpec) -> _Fitting:
        """What this agent can use: the same for all that ask for the same."""
        key = (spec.model, spec.on, spec.near, spec.needs_card, spec.requirement)
        found = self._fit.get(key)
        if found is None:
            found = self._fit[key] = _Fitting(self, spec)
        return found

    def cards_of(self, node: str) -> Sequence[Card]:
        if self._cards is None:
            self._cards = defaultdict(list)
            for card in self.board.cards:
                self._cards[card.node].append(card)
        return self._cards.get(node, ())

    def has_room(self, spec: AgentSpec, offer: Offer) -> bool:
        """Whether a card of its own has the bytes; an engine's model has its own already."""
        return offer.slot is not None or all(self.is_given(card) and fits_alone(card, spec.requirement.vram or 0) for card in offer.cards)

    def is_given(self, card: Card) -> bool:
        """Whether one more agent may have a card for itself, however few bytes it takes there."""
        return self._pods.get((card.node, card.index), 1) > 0

    def _kept_offer(self, spec: AgentSpec, one: _Applied) -> Offer | None:
        if spec.model is not None:
            offer = self.fitting(spec).by_where.get(str(one.row.fields.get(USES)))
            near = offer is not None and (spec.near is Near.ANY or offer.node == one.node)
            at_card = spec.each is not AgentEach.GPU or (offer is not None and self._card_at(one.node, one.number) in offer.cards)
            return offer if offer is not None and near and at_card and not is_full(offer.cards, self.load.agents) else None
        if not spec.takes_card:
            return None
        return self._kept_card(spec, one)

    def _as_applied(self, spec: AgentSpec, one: _Applied) -> Offer | None:
        """What an agent uses that nobody may touch now."""
        if spec.model is not None:
            return self.fitting(spec).by_where.get(str(one.row.fields.get(USES)))
        holding = self.board.own_cards.pop(one.row.address, None)
        if holding is None:
            return None
        self.board.remove(holding)
        return own_card(holding.charges[0][0])

    def _kept_card(self, spec: AgentSpec, one: _Applied) -> Offer | None:
        """Its own card, charged anew where the files ask for other bytes of it by now."""
        given = own_card_of(one.row)
        holding = self.board.own_cards.pop(one.row.address, None)
        if given is None or holding is None:
            return None
        self.board.remove(holding)
        card = holding.charges[0][0]
        offer = self.fitting(spec).by_where.get(f"{card.node}/{card.index}")
        if offer is None or is_full(offer.cards, self.load.agents):
            return None
        return offer if given[1] == (spec.requirement.vram or 0) or self.has_room(spec, offer) else None

    def _put(self, spec: AgentSpec, node: str, number: int, offer: Offer | None) -> None:
        self.taken[spec.name].add((node, number))
        self.load.add(node, offer)
        card, count = None, 0
        if offer is not None and offer.slot is None:
            card, count = offer.cards[0], spec.requirement.vram or 0
            if (at := (card.node, card.index)) in self._pods:
                self._pods[at] -= 1
            self.board.put(CardHolding(((card, count),)))
        self.result.places.append(
            AgentPlace(spec, node, number, offer if offer is not None and offer.slot is not None else None, card, count)
        )

    def _on(self, spec: AgentSpec, node: str, number: int) -> Offer | None:
        """What an agent can use that runs on this node: the best there, else any, where its engine may be elsewhere."""
        fitting = self.fitting(spec)
        if spec.each is AgentEach.GPU:
            card = self._card_at(node, number)
            return fitting.best_on(node, card) if card is not None else None
        here = fitting.best_on(node, None)
        if here is not None or spec.near is Near.NODE or spec.takes_card:
            return here
        return fitting.order.next()

    def _card_at(self, node: str, number: int) -> Card | None:
        cards = self.cards_of(node)
        return cards[number - 1] if number <= len(cards) else None

    def _place_replicas(self, spec: AgentSpec) -> None:
        missing = (spec.replicas or 0) - len(self.taken[spec.name])
        fitting = self.fitting(spec) if spec.model is not None or spec.takes_card else None
        while missing > 0:
            offer = fitting.order.next() if fitting is not None else None
            if fitting is not None and offer is None:
                break
            node = offer.node if offer is not None and offer.node in self.hosts and offer.node in spec.nodes else self._quietest(spec)
            if node is None:
                break
            self._put(spec, node, self._free_number(spec, node), offer)
            missing -= 1
        if missing > 0:
            self._leave_out(spec, missing)

    def _place_each(self, spec: AgentSpec) -> None:
        """One for each node, or each card; where none can ever qualify, none is wanted."""
        for node in spec.nodes:
            if node not in self.hosts:
                continue
            numbers = range(1, len(self.cards_of(node)) + 1) if spec.each is AgentEach.GPU else (1,)
            for number in numbers:
                if (node, number) in self.taken[spec.name]:
                    continue
                if spec.each is AgentEach.GPU and not self._is_meant(spec, node, number):
                    continue
                offer = self._on(spec, node, number) if spec.model is not None or spec.takes_card else None
                if offer is None and (spec.model is not None or spec.takes_card):
                    self._leave_out(spec, 1, node)
                else:
                    self._put(spec, node, number, offer)

    def _leave_out(self, spec: AgentSpec, count: int, node: str | None = None) -> None:
        cards = self._own_cards(spec)
        self.result.unplaced.append(why_unplaced(spec, count, self.offers, self.load, self.hosts, cards, self.is_given, node))

    def _is_meant(self, spec: AgentSpec, node: str, number: int) -> bool:
        """Whether this card is one of those for each of which an agent is wanted: it qualifies, and its model is there."""
        card = self._card_at(node, number)
        if card is None or unfit_card(card, spec.requirement) is not None:
            return False
        return spec.model is None or any(card in offer.cards for offer in self.offers.of(spec.model))

    def _own_cards(self, spec: AgentSpec) -> Sequence[Card]:
        return [card for node in spec.nodes if node in self.hosts for card in self.cards_of(node)] if spec.takes_card else ()

    def _free_number(self, spec: AgentSpec, node: str) -> int:
        number, taken = 1, self.taken[spec.name]
        while (node, number) in taken:
            number += 1
        return number

    def _quietest(self, spec: AgentSpec) -> str | None:
        """The node of its own with the fewest agents."""
        order = self._nodes.get(spec.on)
        if order is None:
            nodes = [Offer(node, node, ()) for node in spec.nodes if node in self.hosts]
            order = self._nodes[spec.on] = Ranked(nodes, self.load, lambda one: (float(self.load.on_node[one.node]),), lambda _: True)
        found = order.next()
        return found.node if found is not None else None


class _Fitting:
    """What agents of one kind of demand can use: by name, by node, and in the strategy's order."""

    def __init__(self, placing: _Placing, spec: AgentSpec) -> None:
        self._placing, self._spec = placing, spec
        nodes = frozenset(spec.nodes) & placing.declared
        if spec.model is not None:
            every = [one for one in placing.offers.of(spec.model) if unfit_offer(one, spec) is None]
            offers = [one for one in every if spec.near is Near.ANY or one.node in nodes]
        else:
            cards = [card for node in spec.nodes if node in nodes for card in placing.cards_of(node)]
            fit = [card for card in cards if unfit_card(card, spec.requirement) is None]
            offers = [own_card(card) for card in fit if card.facts is not None and card.facts.uuid is not None]
        self.offers: Sequence[Offer] = offers
        self.by_where: Mapping[str, Offer] = {offer.where: offer for offer in offers}
        self._by_node: dict[str, list[Offer]] | None = None
        self._nodes = nodes
        self._order: OfferOrder | None = None

    @property
    def order(self) -> OfferOrder:
        if self._order is None:
            placing = self._placing
            thermal = placing.desired.policy.thermal
            self._order = order_of(
                self.offers,
                placing.desired.strategy,
                placing.load,
                self._may_take,
                lambda offer: offer.node in self._nodes,
                self._last_taken(),
                thermal.hysteresis if thermal is not None else None,
            )
        return self._order

    def _may_take(self, offer: Offer) -> bool:
        """Whether something new may use it: it has the room, and a daemon that can be asked where it must run there."""
        elsewhere = self._spec.model is not None and self._spec.near is Near.ANY
        return (elsewhere or offer.node in self._placing.hosts) and self._placing.has_room(self._spec, offer)

    def best_on(self, node: str, card: Card | None) -> Offer | None:
        """The one with the fewest agents of those on a node, and on a card of it where one is named."""
        if self._by_node is None:
            self._by_node = defaultdict(list)
            for offer in self.offers:
                self._by_node[offer.node].append(offer)
        placing = self._placing
        free = [
            offer
            for offer in self._by_node.get(node, ())
            if (card is None or card in offer.cards)
            and not is_full(offer.cards, placing.load.agents)
            and placing.has_room(self._spec, offer)
        ]
        return min(free, key=lambda offer: (*placing.load.of(offer), offer.where), default=None)

    def _last_taken(self) -> str | None:
        """What the agent that came last uses, of those in the state that use one of these: where going round goes on."""
        names = self._placing.alike.get((self._spec.model, self._spec.takes_card), ())
        rows = [one.row for name in names for one in self._placing.rows.get(name, ())]
        last = max(rows, key=lambda row: (row.serial, row.address), default=None)
        if last is None:
            return None
        if self._spec.model is not None:
            return str(last.fields.get(USES))
        uuid = last.fields.get(OWN_CARD)
        return next((one.where for one in self.offers if one.cards[0].facts is not None and one.cards[0].facts.uuid == uuid), None)


def _rows(applied: Applied) -> Mapping[str, Sequence[_Applied]]:
    """The agents of the state by name, in order of node and number."""
    found: dict[str, list[_Applied]] = defaultdict(list)
    for address, row in applied.resources.items():
        if address.startswith(f"{AGENT}."):
            name, number, node = parse_agent_address(address)
            found[name].append(_Applied(node, number, row))
    for rows in found.values():
        rows.sort(key=lambda one: (one.node, one.number))
    return found
