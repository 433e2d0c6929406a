"""A board as plain numbers for a search: what could move and what is asked for as items, engines as bins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from reconciler.admission import least_free
from reconciler.capacity import (
    Bin,
    Card,
    EngineState,
    Item,
    Packing,
    ReplicaKind,
    Seat,
    Taken,
    by_card,
    free_where_unused,
    margin_for,
    spare_beside,
)
from reconciler.fleet import ModelSpec, Spread
from reconciler.needs.run_settings import in_ram
from reconciler.placement.company import cards_of
from reconciler.placement.engine_admission import coming_of
from reconciler.placement.fit import part_on, static_refusal
from reconciler.placement.leaving import Leaving
from reconciler.placement.objective import ALONE, ranks_of
from reconciler.placement.preemption import together
from reconciler.placement.residents import Occupant, most_needed, need_on
from reconciler.placement.result import MissingReplicas, Target
from reconciler.placement.search_state import Placing


@dataclass(slots=True, eq=False)
class Piece:
    """What an item of the packing is: a replica of a model (`leaving` where it has a place), or a resident that yields."""

    model: ModelSpec | None
    slot: EngineState | None = None
    leaving: Leaving | None = None


Answer = Sequence[tuple[Piece, EngineState | None]]


class BoardPacking:
    """The board as a packing: `pieces` by item."""

    def __init__(
        self,
        placing: Placing,
        lacking: Sequence[MissingReplicas],
        refused: set[tuple[str, EngineState]],
        beside: bool = False,
        pair: tuple[ModelSpec, ModelSpec] | None = None,
    ) -> None:
        """`beside`: what others wait for is only put where there is room for those too. `pair`: a model, which has left the board, and one
        that waits to be beside it are asked for together, on one engine."""
        self._placing, self._refused, self._with_others = placing, refused, beside
        board = placing.board
        self._cards = [card for card in board.cards if card.usable is not None and not card.is_at_fault]
        self._card_number = {card: number for number, card in enumerate(self._cards)}
        nodes = {name: number for number, name in enumerate(board.by_node)}
        slots = [slot for slot in board if slot.takes_orders and any(card in self._card_number for card in slot.cards or ())]
        slots.sort(key=lambda slot: (tuple(card.capacity for card in slot.cards or ()), slot.id))
        self.slots = slots
        self._number = {slot: number for number, slot in enumerate(slots)}
        self._allowed: dict[tuple[EngineState, ...], tuple[tuple[int, ...], frozenset[int]]] = {}
        self._kinds: dict[tuple[str, str | None], int] = {}
        self._of_kind: list[ReplicaKind] = []
        self.pieces: list[Piece] = []
        self._left = {} if placing.as_there else self._displaced()
        self._ranks = ranks_of(placing.desired)
        items: list[Item] = []
        for slot in slots:
            there = sorted(together(placing, slot), key=lambda one: one.name)
            there += (Leaving(slot, (found,), found=found) for found in placing.yielding.get(slot, ()))
            for leaving in there:
                item = self._there(slot, leaving)
                if item is not None:
                    items.append(item)
        before = len(items)
        for entry in lacking:
            items += self._lacking(entry)
        if pair is not None:
            items.append(self._pair(*pair))
        self.new = len(items) - before
        self._set_apart()
        bins = [self._bin(slot, nodes) for slot in slots]
        self.packing = Packing([card.free for card in self._cards], bins, self._of_kind, items)
        self._count_all(bins, nodes)

    def answer(self) -> Answer:
        """What is elsewhere now, with its new engine (None: it has no place)."""
        found = [None if item.at is None else self.slots[item.at] for item in self.packing.items]
        return [(piece, slot) for piece, slot in zip(self.pieces, found, strict=True) if slot is not piece.slot]

    def _of(self, slot: EngineState) -> list[Card]:
        """Its cards that can be searched: of known size, and sound."""
        return [card for card in slot.cards or () if card in self._card_number]

    def _bin(self, slot: EngineState, nodes: Mapping[str, int]) -> Bin:
        cards = self._of(slot)
        return Bin(
            tuple(self._card_number[card] for card in cards),
            nodes[slot.id.node],
            None if slot.rules.most is None else slot.rules.most - slot.placed,
            slot.own_rooms(cards),
        )

    def _there(self, slot: EngineState, leaving: Leaving) -> Item | None:
        """What has a place and may leave it. None where it can only leave in ways that the search does not know: with other names of its
        weights, or from RAM, or from a card that holds more than it may."""
        sums = by_card(holding.charges for holding in leaving.holdings)
        if not sums or any(card not in self._card_number or card.free < 0 for card in sums):
            return None
        charges = tuple((self._card_number[card], count) for card, count in sums.items())
        if leaving.found is not None:
            if leaving.found.model is not None or leaving.found.also:
                return None
            kind, at = self._nobody(), self._number[slot]
            self.pieces.append(Piece(None, slot, leaving))
            most = max(sums.values())
            return Item(kind, most, 0, at, charges, only=frozenset(), wanted=False, at=at, charges=charges)
        target = leaving.targets[0]
        model = target.model
        alone = model.name not in self._placing.company.followers and model.name not in self._placing.may_share
        if len(leaving.targets) > 1 or not alone:
            return None
        if model.protect if self._placing.as_there else target.replaces is not None:
            return None
        self.pieces.append(Piece(model, slot, leaving))
        resident, at = self._is_there(target), self._number[slot]
        size = model.vram if model.vram is not None else (target.need.bytes if target.need is not None else max(sums.values()))
        only = None if model.each is None else frozenset(self._group(model, slot))
        home, held = (at, charges) if resident else self._old_place(model, only)
        weight = self._weight(model)
        return Item(self._kind(model), size, model.priority, home, held, only, new=home is None, weight=weight, at=at, charges=charges)

    def _group(self, model: ModelSpec, slot: EngineState) -> list[int]:
        group = next((group for group in self._placing.groups_of[model.name] if slot in group), ())
        return [self._number[other] for other in group if other in self._number]

    def _lacking(self, entry: MissingReplicas) -> list[Item]:
        placing, model = self._placing, entry.model
        items = []
        if model.each is None:
            groups: Sequence[frozenset[int] | None] = [None] * entry.count
        else:
            free = [group for group in placing.groups_of[model.name] if not any(slot in placing.at[model.name] for slot in group)]
            groups = [frozenset(self._number[slot] for slot in group if slot in self._number) for group in free]
            groups = [group for group in groups if group]
        kind = self._kind(model)
        size = most_needed([self.slots[at] for at in self._of_kind[kind].bins], model, placing.applied)
        for group in groups:
            self.pieces.append(Piece(model))
            home, held = self._old_place(model, group)
            items.append(Item(kind, size, model.priority, home, held, group, new=home is None, weight=self._weight(model)))
        return items

    def _weight(self, model: ModelSpec) -> int:
        """As the objective weighs the bytes of a replica that moves."""
        there = sum(map(self._is_there, self._placing.at[model.name].values()))
        return self._ranks[model.priority] * (1 if there > 1 else ALONE)

    def _is_there(self, target: Target) -> bool:
        return target.found is not None or self._placing.as_there

    def _displaced(self) -> dict[str, list[Occupant]]:
        """The residents that left for others, by the one model that each is, on engines and cards that are searched."""
        found: dict[str, list[Occupant]] = {}
        for one in sorted(self._placing.result.displaced, key=lambda one: one.slot.id):
            name = one.model.name if one.model is not None and not one.also else None
            known = one.slot in self._number and all(card in self._card_number for card, _ in one.charges)
            if name is not None and known and one.slot not in self._placing.at[name]:
                found.setdefault(name, []).append(one)
        return found

    def _old_place(self, model: ModelSpec, only: frozenset[int] | None) -> tuple[int | None, Taken]:
        """Where a replica of a model (one for these bins `only`) was until another took its room, which it may have again; each is told
        once."""
        found = next((one for one in self._left.get(model.name, ()) if only is None or self._number[one.slot] in only), None)
        if found is None:
            return None, ()
        self._left[model.name].remove(found)
        return self._number[found.slot], tuple((self._card_number[card], count) for card, count in found.charges)

    def _nobody(self) -> int:
        self._of_kind.append(ReplicaKind((), frozenset(), lambda at: None))
        return len(self._of_kind) - 1

    def _kind(self, model: ModelSpec) -> int:
        key = model.name, model.variant
        if key not in self._kinds:
            usable = self._placing.class_of(model).slots
            if usable not in self._allowed:
                bins = tuple(sorted(self._number[slot] for slot in usable if slot in self._number))
                self._allowed[usable] = bins, frozenset(bins)
            bins, allowed = self._allowed[usable]
            if model.name in self._placing.company.mates:  # a search leaves those where they are
                bins = tuple(at for at in bins if self._placing.lacks_mate(model, self.slots[at]) is None)
                allowed = frozenset(bins)
            apart = model.spread if model.spread_hard else Spread.NONE
            seats = self._placing.seats.setdefault(key, {})
            beside = self._placing.needed_beside(model) if self._with_others else 0
            kind = ReplicaKind(bins, allowed, lambda at: _with_spare(self._known_seat(model, self.slots[at], seats), beside), apart)
            twin = next((self._of_kind[n] for (name, _), n in self._kinds.items() if name == model.name), None) if model.variants else None
            if twin is not None:
                kind.here, kind.nodes, kind.cards = twin.here, twin.nodes, twin.cards
            self._kinds[key] = len(self._of_kind)
            self._of_kind.append(kind)
        return self._kinds[key]

    def _pair(self, mate: ModelSpec, model: ModelSpec) -> Item:
        """Two models as one that takes what both take on an engine with one card."""
        numbers = [self._kind(one) for one in (mate, model)]
        first, second = (self._of_kind[number] for number in numbers)
        also = set(self._placing.class_of(model).slots)
        usable = [slot for slot in self._placing.class_of(mate).slots if slot in also]
        alone = [slot for slot in usable if slot in self._number and len(slot.cards or ()) == 1 and slot.rules.most != 1]
        bins = tuple(sorted(self._number[slot] for slot in alone))

        def both(at: int) -> Seat | None:
            one, other = first.seat(at), second.seat(at)
            return None if one is None or other is None else Seat(one.takes + other.takes, spare=max(one.spare, other.spare))

        self._kinds[mate.name, f"with {model.name}"] = len(self._of_kind)
        self._of_kind.append(ReplicaKind(bins, frozenset(bins), both))
        self.pieces.append(Piece(model))
        size = sum(most_needed([self.slots[at] for at in bins], one, self._placing.applied) for one in (mate, model))
        return Item(len(self._of_kind) - 1, size, model.priority, new=True)

    def _set_apart(self) -> None:
        """Tells the kinds of models that are never on one card of each other, also of those that nobody moves."""
        placing = self._placing
        foes = placing.company.foes
        named = {name for name, _ in self._kinds if name in foes}
        for name in sorted(named | {foe for one in named for foe in foes[one] if foe in placing.at}):
            self._kind(placing.alternatives[name][0])
        of_name: dict[str, list[ReplicaKind]] = {}
        for (name, _), number in self._kinds.items():
            of_name.setdefault(name, []).append(self._of_kind[number])
        for name, kinds in of_name.items():
            for kind in kinds:
                kind.foes = [foe for other in sorted(foes.get(name, ())) for foe in of_name.get(other, ())]

    def _count_all(self, bins: Sequence[Bin], nodes: Mapping[str, int]) -> None:
        """Counts the replicas that have a place, those too that stay where they are."""
        counted: set[int] = set()
        for (name, _), number in self._kinds.items():
            kind = self._of_kind[number]
            if id(kind.here) in counted:
                continue
            counted.add(id(kind.here))
            for slot, target in self._placing.at[name].items():
                at = self._number.get(slot)
                on_cards = bool(cards_of(target))  # else it is in RAM, or only to be on the disk
                if at is not None:
                    kind.count(bins[at] if on_cards else replace(bins[at], cards=()), at, 1)
                    continue
                kind.nodes[nodes[slot.id.node]] += 1
                for card in (slot.cards or ()) if on_cards else ():
                    if card in self._card_number:
                        kind.cards[self._card_number[card]] += 1
            for cards in self._placing.strays(name) if kind.foes else ():
                for card in cards:
                    if card in self._card_number:
                        kind.cards[self._card_number[card]] += 1
        for item in self.packing.items:
            if not item.wanted and item.at is not None:
                self._of_kind[item.kind].count(bins[item.at], item.at, 1)

    def _known_seat(self, model: ModelSpec, slot: EngineState, seats: dict[EngineState, Seat | None]) -> Seat | None:
        """What a replica takes there if room is made for it; None where it cannot be, whoever leaves."""
        if (model.name, slot) in self._refused or model.name in self._placing.not_right.get(slot, ()):
            return None
        if slot not in seats:
            seats[slot] = self._seat(model, slot)
        return seats[slot]

    def _seat(self, model: ModelSpec, slot: EngineState) -> Seat | None:
        placing = self._placing
        if static_refusal(slot, model) is not None or in_ram(slot, model):
            return None
        need = need_on(slot, model, placing.applied)
        if need is None or not slot.cards:
            return None
        spare = 0
        margin = margin_for(slot, model)
        if margin:
            spare = max(free_where_unused(card, margin) for card in slot.cards)
        if slot.rules.memory and len(slot.cards) == 1:
            spare = max(spare, self._predicted_spare(model, slot, need.bytes))
        if model.when.free_vram is not None:
            spare = max(spare, model.when.free_vram - need.bytes)
        whole = len(self._of(slot)) == len(slot.cards) > 1 and not slot.is_sliced
        part = part_on(slot, model, need, placing.applied) if whole else None
        if model.is_split:
            return None if part is None else Seat(part, part, spare, on_all=True)
        return Seat(need.bytes, part, spare)

    def _predicted_spare(self, model: ModelSpec, slot: EngineState, takes: int) -> int:
        """Bytes that must be free beside what it takes, for the engine to take it beside others; all of the card where it only takes it
        alone."""
        card = (slot.cards or ())[0]
        predicted = coming_of(slot, model, ((card, takes),), self._placing.applied).predicted
        if predicted is None or card.total is None:
            return 0
        return spare_beside(card, takes, least_free(predicted))


def _with_spare(seat: Seat | None, more: int) -> Seat | None:
    return replace(seat, spare=max(seat.spare, more)) if seat is not None and more else seat
