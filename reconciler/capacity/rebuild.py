"""A few cards taken apart and filled anew by branch and bound: the exact core of the search."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from reconciler.capacity.packing import Packing, Taken

Spot = tuple[int, Taken]
NEVER = 1 << 200
TAKES = 3


_Option = tuple[int, int, int, int, int]
"""A bin for an item: (cost, bin, card, takes, asks). Where the free bytes of one card alone decide, `card` is that, `takes` what is charged
and `asks` what must be free; else `card` is −1, and the packing is asked."""


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
        self._options: list[list[_Option]] = []
        for number in self.order:
            mine = [self._option(number, at, cost(number, at), sinks, len(numbers)) for at in bins if packing.may_be(number, at)]
            self._options.append(_unlike([one for one in mine if one is not None]))
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

    def _option(self, number: int, at: int, cost: int, sinks: Sequence[int], count: int) -> _Option | None:
        packing, item, place = self._packing, self._packing.items[number], self._packing.bins[at]
        kind = packing.kinds[item.kind]
        if kind.beside_itself(place, at) or kind.beside_a_foe(place):
            return None
        if at == item.home and item.home_charges:
            card, takes = item.home_charges[0]
            asks, single = takes, len(item.home_charges) == 1
        else:
            seat = kind.seat(at)
            if seat is None:
                return None
            card, takes, asks, single = place.cards[0], seat.takes, seat.takes + seat.spare, len(place.cards) == 1
        if not set(place.cards).isdisjoint(sinks):
            cost += takes
        alone = self._often[item.kind] == 1 and not kind.foes
        unbound = (place.places is None or place.places >= count) and (place.own is None or place.own[0] >= packing.free[card])
        return cost, at, card if single and alone and unbound else -1, takes, asks

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
            (cost_here, free[card] if card >= 0 else 0, at, card, takes)
            for cost_here, at, card, takes, asks in self._options[k]
            if card < 0 or free[card] >= asks
        ]
        if len(with_room) > 1:
            with_room.sort()
        for cost_here, _, at, card, takes in with_room:
            if cost + cost_here >= self._best:
                break
            if card >= 0:
                free[card] -= takes
                self._spots[k] = at, ((card, takes),)
                self._down(k + 1, cost + cost_here)
                free[card] += takes
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


def _unlike(options: Sequence[_Option]) -> list[_Option]:
    """Of the engines of one card that are as good as each other for an item the first."""
    first: dict[tuple[int, ...], _Option] = {}
    for one in options:
        cost, at, card, takes, asks = one
        first.setdefault((cost, card, takes, asks) if card >= 0 else (cost, card, takes, asks, at), one)
    return list(first.values())
