"""One engine with its bounds: how full its cards are, what it may take of each, how many models it holds."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field

from reconciler.admission import PendingLoad
from reconciler.capacity.cards import Card, Charges, largest, largest_on_cards, total
from reconciler.fleet import Answers, CardCharges, CardId, ModelSpec
from reconciler.needs.engine import KnownEngine
from reconciler.needs.knowledge import Knowledge

SameOnEach = tuple[tuple[CardId, ...], int]
"""The indices of cards, and the bytes on each of them."""


def each_by_index(same: SameOnEach) -> CardCharges:
    """So many bytes on each card."""
    cards, count = same
    return tuple([(index, count) for index in cards])


@dataclass(slots=True, eq=False)
class EngineState(KnownEngine):
    """One engine: where a replica can be.

    Filled by `Occupancy` alone: `placed` counts the residents it will have; `runners` are those that it will have, by what identifies one:
    names that share one are charged once, and it leaves with the last of them. `own` is what this engine itself takes on each of its cards,
    `own_before` the same as found, kept where a `memory_limit` asks for it. `coming` has by model the loads that are charged and not yet
    there.
    `knowledge` is what the run knows of needs, one for all engines. `lost`: unreachable for so long that its replicas are placed
    elsewhere. `hot`: a card of it is so hot or so full that it is the last choice for what is new.
    """

    cards: tuple[Card, ...] | None
    ram: Card
    selected: bool = True
    lost: bool = False
    hot: bool = False
    placed: int = 0
    own: dict[CardId, int] = field(default_factory=dict)
    own_before: dict[CardId, int] = field(default_factory=dict)
    runners: dict[str, Holding] = field(default_factory=dict)
    knowledge: Knowledge = field(default_factory=Knowledge)
    coming: dict[str, PendingLoad] = field(default_factory=dict)
    _everywhere: dict[int, Charges] = field(default_factory=dict)

    @property
    def full(self) -> bool:
        """Whether it holds, or will hold, as many models as it allows: for one more it would evict another."""
        return self.rules.most is not None and self.placed >= self.rules.most

    @property
    def is_fixed(self) -> bool:
        """Whether it was made for the one model of its start."""
        return self.facts is not None and self.facts.mode == "single"

    @property
    def takes_orders(self) -> bool:
        """Whether it can be told now what to load and to unload: within reach and limits, and not made for the one model of its start."""
        return self.reachable and self.selected and not self.is_fixed

    def places(self, in_ram: bool) -> tuple[Card, ...]:
        """Where a replica of it can sit: in its node's RAM, or on its cards."""
        return (self.ram,) if in_ram else self.cards or ()

    @property
    def used_fraction(self) -> float:
        """The largest used share among this engine's cards; 1 where a size is unknown."""
        worst = 0.0
        for card in self.cards if self.cards else (self.ram,):
            if not card.usable:
                return 1.0
            worst = max(worst, (card.held + card.foreign) / card.usable)
        return worst

    @property
    def foreign(self) -> int:
        """What other programs use of all its cards together."""
        return sum(card.foreign for card in self.cards or ())

    @property
    def is_sliced(self) -> bool:
        """Whether slices of a card are among its several cards: a process sees one of those alone, so that nothing is spread over them
        (NVIDIA's MIG user guide, CUDA device enumeration)."""
        return len(self.cards or ()) > 1 and any(card.facts is not None and card.facts.mig_parent is not None for card in self.cards or ())

    @property
    def whole(self) -> int:
        """The most that all its cards together may hold of one model."""
        rooms = [max(0, card.capacity) for card in self.cards or ()]
        return max(rooms) if self.is_sliced else sum(rooms)

    def fullness(self, margins: bool) -> Hashable:
        """All that decides about room on it: of each card what is free, may be held and is its own, and of its RAM; with `margins` also
        what of each card is unused."""
        limited = self.spec.memory_limit is not None
        cards = tuple((card.free, card.capacity) for card in self.cards or ())
        own = tuple(self.own.get(card.index, 0) for card in self.cards or ()) if limited else ()
        unused = tuple(card.unused for card in self.cards or ()) if margins else ()
        return cards, own, unused, self.ram.usable, self.ram.free

    @property
    def held(self) -> tuple[int, ...]:
        """What is held of each of its cards and of its RAM."""
        return (self.ram.held, *(card.held for card in self.cards or ()))

    def room(self, card: Card, margin: int = 0) -> int:
        """Bytes this engine may still add to one of its cards: the card's free bytes, capped by the engine's own `memory_limit`, and with
        `margin` bytes of the whole card left over."""
        limit = self.spec.memory_limit
        room = card.free if limit is None else min(card.free, limit - self.own.get(card.index, 0))
        return min(room, card.unused - margin) if margin else room

    def own_rooms(self, cards: Sequence[Card]) -> list[int] | None:
        """Bytes that its own `memory_limit` still lets it add to each of these cards; None: it has none."""
        limit = self.spec.memory_limit
        return None if limit is None else [limit - self.own.get(card.index, 0) for card in cards]

    def own_left_without(self, card: Card, gone: int) -> int:
        """What its own `memory_limit`, or what it held there as found where that was more, lets it add to a card when so many of its bytes
        have left that."""
        limit = max(self.spec.memory_limit or 0, self.own_before.get(card.index, 0))
        return limit - self.own.get(card.index, 0) + gone

    def rooms(self, margin: int = 0) -> list[int]:
        """The same of each of its cards whose size is known, never below 0."""
        return [max(0, self.room(card, margin)) for card in self.cards or () if card.usable is not None]

    def charges_for(
        self, need: int, spread: Callable[[], int | None] | None = None, margin: int = 0, on_all: bool = False
    ) -> Charges | None:
        """Where `need` bytes would be charged, with `margin` bytes of each card left over; None when there is no room.

        On an engine with several cards nobody can say beforehand which one is taken: the whole is charged to every card that has room for
        it, and where none has, or it is asked to be `on_all` of them, a part to each (which must fit on each, and none is a slice): what
        `spread` says that a card then holds, else an even one.
        """
        cards = self.cards or ()
        if len(cards) == 1:
            return ((cards[0], need),) if self.room(cards[0], margin) >= need else None
        if on_all:
            fitting = []
        elif self.spec.memory_limit is None and not margin:
            fitting = [card for card in cards if card.usable is not None and card.usable - card.foreign - card.held >= need]
        else:
            fitting = [card for card in cards if self.room(card, margin) >= need]
        if fitting or not cards or self.is_sliced:
            return self._on_each(fitting, need) or None
        told = spread() if spread is not None else None
        part = told if told is not None else -(-need // len(cards))
        return self._on_each(cards, part) if all(self.room(card, margin) >= part for card in cards) else None

    def _on_each(self, cards: Sequence[Card], count: int) -> Charges:
        """So many bytes on each of these; one value for all that are charged alike to all of its cards."""
        if len(cards) < len(self.cards or ()):
            return tuple([(card, count) for card in cards])
        known = self._everywhere.get(count)
        if known is None:
            known = self._everywhere[count] = tuple([(card, count) for card in cards])
        return known

    def by_index(self, charges: Charges, alike: Answers[SameOnEach, CardCharges]) -> CardCharges:
        """Charges with the indices of their cards. `alike` (of `each_by_index`) has those of what takes the same of all cards of an engine:
        one value for all engines with such cards."""
        if charges and self._everywhere.get(charges[0][1]) is charges:
            return alike[tuple([card.index for card, _ in charges]), charges[0][1]]
        return tuple([(card.index, count) for card, count in charges])

    def most_on_a_card(self, charges: Charges) -> int:
        """As `largest_on_cards`, for charges on this engine."""
        if charges and self._everywhere.get(charges[0][1]) is charges:
            return charges[0][1]
        return largest_on_cards(charges)

    def is_spread(self, charges: Charges, whole: int | None) -> bool:
        """Whether these are the parts of a model of so many bytes (None: nobody tells), one on each of its several cards."""
        return whole is not None and 1 < len(charges) == len(self.cards or ()) and self.most_on_a_card(charges) < whole

    @property
    def bounds_cache(self) -> bool:
        """Whether a card of it may hold only so much KV cache."""
        return bool([card for card in self.cards or () if card.most_cache is not None])

    def within_cache(self, charges: Charges, cache: int, spread: bool) -> Charges | None:
        """Those of the charges whose cards have room for so many bytes more of cache each; None where there is none, or where a model that
        is spread over all of them finds one without."""
        kept = tuple((card, count) for card, count in charges if card.most_cache is None or card.cache + cache <= card.most_cache)
        return None if not kept or (spread and len(kept) < len(charges)) else kept

    def charges_found(self, held: int, on_all: bool = False) -> Charges:
        """Where `held` bytes that are already resident are charged where nobody remembers it: like `charges_for`, by the cards' sizes and
        without asking for room."""
        cards = self.cards or ()
        if len(cards) == 1:
            return ((cards[0], held),)
        could_hold = [card for card in cards if card.total is None or card.total >= held] if not on_all else []
        if could_hold or not cards:
            return self._on_each(could_hold, held)
        return self._on_each(cards, -(-held // len(cards)))

    def charges_kept(self, charged: CardCharges | None, held: int | None) -> Charges | None:
        """Where what is resident was charged when it was placed, by the state, with the `held` bytes that it takes now (None: nobody
        tells). None where the state does not say, or says cards that are not this engine's any more.

        A load that was charged whole to several cards is on one of them, so each holds `held` at most; one that was spread over all cards
        keeps its parts, and where it takes more than they are together, each grows by as much.
        """
        if not charged:
            return None
        if self.cards is not None and len(self.cards) == len(charged) == 1 and charged[0][0] == self.cards[0].index:
            return ((self.cards[0], charged[0][1] if held is None else held),)  # the usual case of what follows
        known = {card.index: card for card in (*(self.cards or ()), self.ram)}
        if any(index not in known for index, _ in charged):
            return None
        charges = tuple((known[index], count) for index, count in charged)
        if held is None:
            return charges
        if held > 0 and all(card.is_ram for card, _ in charges) and self.cards:
            return None
        whole, most = total(charges), largest(charges) or 0
        if held <= most:
            return tuple((card, min(count, held)) for card, count in charges)
        if len(charges) == len(self.cards or ()) > 1:
            return charges if held <= whole else tuple((card, -(-held * count // whole)) for card, count in charges)
        return tuple((card, held) for card, _ in charges)

    def all_of_it(self) -> Charges:
        """What is free of all its cards (of its RAM without one): what nobody can size may hold as much."""
        return tuple((card, max(0, card.free)) for card in self.cards or (self.ram,))

    def may_hold(self, charges: Charges, as_found: Callable[[Card], bool]) -> bool:
        """Whether it may add these bytes: on each card within its own limit and within what that may hold; where `as_found` says so of a
        card, within what was held there as found."""
        limit = self.spec.memory_limit
        for card, count in charges:
            found = as_found(card)
            if limit is not None and card is not self.ram:
                own = max(limit, self.own_before.get(card.index, 0)) if found else limit
                if self.own.get(card.index, 0) + count > own:
                    return False
            if card.held + count > (card.bound if found else card.capacity):
                return False
        return True


@dataclass(slots=True, eq=False)
class Holding:
    """What takes room as one: a resident, or a replica that is to be there. `charges` are its bytes by card, which change only while it is
    not there. `runner` says which runner of its engine it is ("": nobody asks), `started_for` the model with whose options that runs.
    `load` is, of a load that is to come, its model and how an engine that predicts loads will see it. `counts`: it is one of its engine's
    models. `cache` are the bytes of its KV cache among those on each card; 0 where no card bounds them, or nobody knows.
    """

    slot: EngineState
    charges: Charges
    runner: str = field(default="", kw_only=True)
    started_for: ModelSpec | None = field(default=None, kw_only=True)
    load: tuple[str, PendingLoad] | None = field(default=None, kw_only=True)
    counts: bool = field(default=True, kw_only=True)
    cache: int = field(default=0, kw_only=True)
    there: bool = field(default=False, init=False)
