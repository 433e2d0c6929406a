"""A board as plain numbers, for a search that tries many thousands of places: cards, engines as bins, and replicas as items in them.

It proposes and decides nothing: what the search finds here is tried on the board itself, whose arithmetic alone says what holds.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from reconciler.capacity.card_groups import card_groups
from reconciler.fleet import Spread
from reconciler.value_class import value_class

Taken = tuple[tuple[int, int], ...]
"""Bytes by card, with cards by number."""


@value_class
class Seat:
    """What a replica takes in a bin: `takes` bytes of each card that has room for all of it, else `part` of every card (None: it cannot be
    spread). It must find `spare` bytes more than that free there. `on_all`: it takes so many bytes of every card in any case."""

    takes: int
    part: int | None = None
    spare: int = 0
    on_all: bool = False


@dataclass(slots=True)
class Bin:
    """An engine: its cards, the number of its node, how many more models it takes (None: any number), and the bytes that it may still add
    to each card by a limit of its own (None: no limit)."""

    cards: tuple[int, ...]
    node: int
    places: int | None = None
    own: list[int] | None = None


@dataclass(slots=True, eq=False)
class ReplicaKind:
    """What is alike for all replicas of a model: its bins (sorted, and as a set), what it takes in one (`ask`; None: it may not be there),
    what two of them must not share beside a bin, and the `foes` with which none of them shares a card. `here`, `nodes` and `cards` count
    the replicas that are placed; kinds that are variants of one model share these counts."""

    bins: Sequence[int]
    allowed: frozenset[int]
    ask: Callable[[int], Seat | None]
    apart: Spread = Spread.NONE
    seats: dict[int, Seat | None] = field(default_factory=dict)
    here: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    nodes: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    cards: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    foes: list[ReplicaKind] = field(default_factory=list)

    def seat(self, at: int) -> Seat | None:
        if at not in self.seats:
            self.seats[at] = self.ask(at)
        return self.seats[at]

    def count(self, place: Bin, at: int, by: int) -> None:
        """A replica came to a bin (`by` 1) or left it (−1)."""
        self.here[at] += by
        if self.apart is Spread.NODE:
            self.nodes[place.node] += by
        if self.apart is Spread.GPU or self.foes:
            for card in place.cards:
                self.cards[card] += by

    def beside_itself(self, place: Bin, at: int) -> bool:
        """Whether another replica forbids one here."""
        if self.here.get(at):
            return True
        if self.apart is Spread.NODE:
            return bool(self.nodes.get(place.node))
        return self.apart is Spread.GPU and any(self.cards.get(card) for card in place.cards)

    def beside_a_foe(self, place: Bin) -> bool:
        """Whether a card here has a model that it is never with."""
        return any(foe.cards.get(card) for foe in self.foes for card in place.cards)


@dataclass(slots=True)
class Item:
    """A replica, or what else may leave.

    `home` is the bin where it is resident, with what it takes there (None: nowhere); `at` and `charges` say where it is now (None: it has
    no place). `only` are the bins of its group of an `each`. `new`: it is to be loaded in any case. `wanted` False: nobody asks for it, so
    that it leaves for nothing but the move. `weight` is how much each of its bytes counts where it leaves its home.
    """

    kind: int
    size: int
    priority: int
    home: int | None = None
    home_charges: Taken = ()
    only: frozenset[int] | None = None
    wanted: bool = True
    new: bool = False
    weight: int = 1
    at: int | None = None
    charges: Taken = ()


class Packing:
    """Free bytes by card, and who is where. Every change goes through `put` and `lift`.

    Cards that an engine has in common with another belong together: `area` has the number of each card's area, `areas` its cards, `inside`
    its bins. Most areas are a card with its engines.
    """

    def __init__(self, free: list[int], bins: Sequence[Bin], kinds: Sequence[ReplicaKind], items: Sequence[Item]) -> None:
        self.free, self.bins, self.kinds, self.items = free, bins, kinds, items
        self.on_card: list[dict[int, None]] = [{} for _ in free]
        for number, item in enumerate(items):
            for card, _ in item.charges:
                self.on_card[card][number] = None
        self.area, self.areas, self.inside = _areas(len(free), bins)

    @property
    def unused(self) -> int:
        """What is free on all cards together."""
        return sum(count for count in self.free if count > 0)

    def missing(self, card: int, seat: Seat) -> int:
        """What must leave a card for a replica to find its room there."""
        return seat.takes + seat.spare - self.free[card]

    def keeps_away(self, number: int, at: int, kind: ReplicaKind, wanted: int) -> bool:
        """Whether this item in a bin would keep replicas of a kind away from the one that they want."""
        own, place, other = self.kinds[self.items[number].kind], self.bins[at], self.bins[wanted]
        if own is kind and (at == wanted or (kind.apart is Spread.NODE and place.node == other.node)):
            return True
        shares = not set(place.cards).isdisjoint(other.cards)
        return shares and (own in kind.foes or (own is kind and kind.apart is Spread.GPU))

    def bins_of(self, number: int) -> Iterable[int]:
        """The bins that it may use, whatever is there, without its home."""
        item = self.items[number]
        return self.kinds[item.kind].bins if item.only is None else sorted(item.only)

    def fits(self, number: int, at: int) -> Taken | None:
        """What the item would be charged in a bin that it may use; None where it has no room there."""
        item, place = self.items[number], self.bins[at]
        kind = self.kinds[item.kind]
        if kind.here.get(at) or (kind.apart is not Spread.NONE and kind.beside_itself(place, at)):
            return None
        if (place.places is not None and place.places <= 0) or (kind.foes and kind.beside_a_foe(place)):
            return None
        free, own = self.free, place.own
        if at == item.home and item.home_charges:
            if any(free[card] < count for card, count in item.home_charges):
                return None
            if own is not None and any(own[place.cards.index(card)] < count for card, count in item.home_charges):
                return None
            return item.home_charges
        seat = kind.seat(at)
        if seat is None:
            return None
        takes, spare, cards = seat.takes, seat.spare, place.cards
        if len(cards) == 1:
            card = cards[0]
            return ((card, takes),) if free[card] >= takes + spare and (own is None or own[0] >= takes) else None
        enough = [n for n, card in enumerate(cards) if free[card] >= takes + spare and (own is None or own[n] >= takes)]
        if enough and not seat.on_all:
            return tuple((cards[n], takes) for n in enough)
        part = seat.part
        if part is not None and all(free[card] >= part + spare and (own is None or own[n] >= part) for n, card in enumerate(cards)):
            return tuple((card, part) for card in cards)
        return None

    def held(self, card: int, numbers: Iterable[int]) -> int:
        """What these items take of a card."""
        return sum(count for number in numbers for on, count in self.items[number].charges if on == card)

    def put(self, number: int, at: int, charges: Taken) -> None:
        item = self.items[number]
        item.at, item.charges = at, charges
        for card, count in charges:
            self.free[card] -= count
            self.on_card[card][number] = None
        self._count(item, at, 1)

    def lift(self, number: int) -> None:
        item = self.items[number]
        if item.at is None:
            return
        for card, count in item.charges:
            self.free[card] += count
            del self.on_card[card][number]
        self._count(item, item.at, -1)
        item.at, item.charges = None, ()

    def _count(self, item: Item, at: int, by: int) -> None:
        place = self.bins[at]
        if place.places is not None:
            place.places -= by
        if place.own is not None:
            for card, count in item.charges:
                place.own[place.cards.index(card)] -= by * count
        self.kinds[item.kind].count(place, at, by)

    def set_aside(self, cards: Iterable[int], count: int) -> Taken:
        """Keeps up to so many free bytes of each of these cards from all, until they are given back."""
        aside = tuple((card, max(0, min(self.free[card], count))) for card in cards)
        for card, kept in aside:
            self.free[card] -= kept
        return aside

    def give_back(self, aside: Taken) -> None:
        for card, kept in aside:
            self.free[card] += kept

    def back_to(self, places: Mapping[int, tuple[int | None, Taken]]) -> None:
        """Puts these items where they were."""
        changed = {number: spot for number, spot in places.items() if (self.items[number].at, self.items[number].charges) != spot}
        for number in changed:
            self.lift(number)
        for number, (at, charges) in changed.items():
            if at is not None:
                self.put(number, at, charges)


def _areas(cards: int, bins: Sequence[Bin]) -> tuple[list[int], list[list[int]], list[list[int]]]:
    area = card_groups(cards, (place.cards for place in bins))
    count = max(area, default=-1) + 1
    areas: list[list[int]] = [[] for _ in range(count)]
    inside: list[list[int]] = [[] for _ in range(count)]
    for card, number in enumerate(area):
        areas[number].append(card)
    for at, place in enumerate(bins):
        inside[area[place.cards[0]]].append(at)
    return area, areas, inside
