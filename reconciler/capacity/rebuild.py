"""A few cards taken apart and filled anew by branch and bound: the exact core of the search."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence, Set

from reconciler.capacity.packing import Bin, Packing, Taken
from reconciler.fleet import Spread

Spot = tuple[int, Taken]
NEVER = 1 << 200
TAKES = 3


_Option = tuple[int, int, int, int, int, bool]
"""A bin for an item: (cost, bin, card, takes, asks, alone). Where one card decides, `card` is that, `takes` what is charged and `asks` what
must be free; else `card` is −1, and the packing is asked. `alone`: its free bytes alone decide, and neither limits of the bin nor another
replica there."""


class Rebuild:
    """The cheapest way to put items, which were lifted, into bins: all of them.

    `cost` is by item and bin; of `sinks`, some cards, every byte costs one more. An answer of at most `goal` is as good as the best.
    `nodes` is how many partial answers may be looked at, `nodes_left` what is left of them.
    """

    def __init__(
        self,
        packing: Packing,
        numbers: Sequence[int],
        bins: Sequence[int],
        cost: Callable[[int, int], int],
        nodes: int,
        sinks: Sequence[int] = (),
        goal: int = 0,
    ) -> None:
        """`numbers` in an order of their own among those of one size."""
        self._packing, self._goal, self.nodes_left = packing, goal, nodes
        items = packing.items
        self.order = sorted(numbers, key=lambda number: -items[number].size)
        self._often = Counter(items[number].kind for number in numbers)
        sunk = {at for at in bins if not set(packing.bins[at].cards).isdisjoint(sinks)}
        self._options = [self._options_of(number, bins, cost, sunk) for number in self.order]
        self._here = [packing.kinds[items[number].kind].here for number in self.order]
        self._cards = [card for card in dict.fromkeys(card for at in bins for card in packing.bins[at].cards) if card not in sinks]
        count = len(self.order)
        self._least, self._rest, self._smallest = [0] * (count + 1), [0] * (count + 1), [0] * (count + 1)
        smallest = NEVER
        for k in range(count - 1, -1, -1):
            takes = min((one[TAKES] for one in self._options[k]), default=0)
            smallest = min(smallest, takes)
            self._least[k] = self._least[k + 1] + min((one[0] for one in self._options[k]), default=NEVER)
            self._rest[k] = self._rest[k + 1] + takes
            self._smallest[k] = smallest
        self._overflows = bool(sinks)
        self._best = 0
        self._found: list[Spot] | None = None
        self._spots: list[Spot] = [(-1, ())] * count

    def _options_of(self, number: int, bins: Sequence[int], cost: Callable[[int, int], int], sunk: Set[int]) -> list[_Option]:
        """The bins where an item may be; of the engines of one card that are as good as each other for it the first. `sunk` are the bins
        with a card where every byte costs."""
        packing, item = self._packing, self._packing.items[number]
        kind, home = packing.kinds[item.kind], item.home if item.home_charges else None
        allowed, apart = kind.allowed if item.only is None else item.only, kind.apart is not Spread.NONE
        alone = self._often[item.kind] == 1 and not kind.foes
        first: dict[tuple[int, ...], _Option] = {}
        for at in bins:
            seat = kind.seat(at) if at != home and at in allowed else None
            if seat is None and at != home:
                continue
            place = packing.bins[at]
            if kind.here.get(at) or (apart and kind.beside_itself(place, at)) or (kind.foes and kind.beside_a_foe(place)):
                continue
            if seat is None:
                card, takes = item.home_charges[0]
                asks, single = takes, len(item.home_charges) == 1
            else:
                card, takes, asks, single = place.cards[0], seat.takes, seat.takes + seat.spare, len(place.cards) == 1
            price = cost(number, at) + (takes if at in sunk else 0)
            own = None if place.own is None else place.own[place.cards.index(card)]
            unbound = (place.places is None or place.places >= len(self.order)) and (own is None or own >= packing.free[card])
            if single and alone and unbound:
                first.setdefault((price, card, takes, asks), (price, at, card, takes, asks, True))
            else:
                one = card if len(place.cards) == 1 and not apart and not kind.foes else -1
                first.setdefault((price, card, takes, asks, at), (price, at, one, takes, asks, False))
        return list(first.values())

    def solve(self, below: int) -> list[Spot] | None:
        """A place for each item of `order`; None where nothing is cheaper than `below`."""
        self._best = below
        self._down(0, 0)
        return self._found

    def _down(self, k: int, cost: int) -> None:
        if k == len(self.order):
            self._best, self._found = cost, list(self._spots)
            return
        self.nodes_left -= 1
        if self.nodes_left < 0 or cost + self._least[k] >= self._best:
            return
        free, smallest = self._packing.free, self._smallest[k]
        short = self._rest[k]
        for card in self._cards:
            if free[card] >= smallest:
                short -= free[card]
        if short > 0 and (not self._overflows or cost + short >= self._best):
            return
        with_room = [
            (cost_here, free[card] if alone else 0, at, card, takes, alone)
            for cost_here, at, card, takes, asks, alone in self._options[k]
            if card < 0 or free[card] >= asks
        ]
        if len(with_room) > 1:
            with_room.sort()
        for cost_here, _, at, card, takes, alone in with_room:
            if cost + cost_here >= self._best:
                break
            if alone:
                free[card] -= takes
                self._spots[k] = at, ((card, takes),)
                self._down(k + 1, cost + cost_here)
                free[card] += takes
            elif card >= 0:
                place, here = self._packing.bins[at], self._here[k]
                if here.get(at) or (place.places is not None and place.places <= 0) or (place.own is not None and place.own[0] < takes):
                    continue
                self._spots[k] = at, ((card, takes),)
                self._charge(place, here, at, card, takes)
                self._down(k + 1, cost + cost_here)
                self._charge(place, here, at, card, -takes, -1)
            else:
                number = self.order[k]
                charges = self._packing.fits(number, at)
                if charges is None:
                    continue
                self._packing.put(number, at, charges)
                self._spots[k] = at, charges
                self._down(k + 1, cost + cost_here)
                self._packing.lift(number)
            if self.nodes_left < 0 or self._best <= self._goal:
                return

    def _charge(self, place: Bin, here: dict[int, int], at: int, card: int, takes: int, by: int = 1) -> None:
        """Takes bytes of the one card of a bin, and a place in it, or gives them back."""
        self._packing.free[card] -= takes
        here[at] = here.get(at, 0) + by
        if place.places is not None:
            place.places -= by
        if place.own is not None:
            place.own[0] -= takes
