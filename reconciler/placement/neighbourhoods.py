"""A few areas of cards of a packing, drawn and taken apart, and filled anew: what a search does again and again."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence

from reconciler.capacity import Packing, Rebuild, Taken

NODES = 400
"""Partial answers that are looked at in one rebuilding."""
BESIDE = 3
"""How many areas of cards are rebuilt together with the one where room is to be made."""
DRAWN = 3
"""From how many drawn areas the emptiest is taken."""
SET_UP, OPTION = 20, 2
"""What a rebuilding costs beside its partial answers: so much, and so much more for each place that an item may have."""

Places = dict[int, tuple[int | None, Taken]]


class Neighbourhoods:
    """The areas of a packing, which it changes. `work` bounds all that is done, `patience` what is spent in a row without finding anything,
    both in partial answers looked at."""

    def __init__(self, packing: Packing, work: int, patience: int) -> None:
        self.packing, self.work, self.patience = packing, work, patience
        self._chance = random.Random(0)  # noqa: S311 - choices of a search, not a secret
        self._rank: list[int] = []
        self._renumber()

    def _renumber(self) -> None:
        """Ranks the items by what they are and where, whatever happened before."""
        items = self.packing.items
        key = [(-item.priority, -item.size, item.kind, -1 if item.at is None else item.at) for item in items]
        self._rank = [0] * len(items)
        for rank, number in enumerate(sorted(range(len(items)), key=key.__getitem__)):
            self._rank[number] = rank

    def _rebuilt(
        self,
        numbers: Sequence[int],
        bins: Sequence[int],
        cost: Callable[[int, int], int],
        now: int,
        before: Places,
        sinks: Sequence[int] = (),
        goal: int = 0,
        nodes: int = NODES,
    ) -> bool:
        packing = self.packing
        old = {n: (packing.items[n].at, packing.items[n].charges) for n in numbers}
        for n in numbers:
            packing.lift(n)
        core = Rebuild(packing, numbers, bins, cost, nodes, sinks, goal)
        answer = core.solve(now)
        self.work -= nodes - max(0, core.nodes_left) + SET_UP + OPTION * len(numbers) * len(bins)
        if answer is None:
            packing.back_to(old)
            return False
        for n, spot in zip(core.order, answer, strict=True):
            packing.put(n, *spot)
        for n, place in old.items():
            before.setdefault(n, place)
        return True

    def _content(self, areas: Iterable[int]) -> tuple[list[int], list[int]]:
        """The items and the bins of some areas."""
        packing = self.packing
        numbers = {n for area in areas for card in packing.areas[area] for n in packing.on_card[card]}
        return sorted(numbers, key=self._rank.__getitem__), [at for area in areas for at in packing.inside[area]]

    def _beside(self, area: int) -> list[int]:
        """The area with others, where something of it may be; of a few that are drawn the emptiest. All, where they are few."""
        packing = self.packing
        if len(packing.areas) <= 1 + BESIDE:
            return [area, *(other for other in range(len(packing.areas)) if other != area)]
        here = [n for n in self._content([area])[0] if self._choices(n)]
        found = [area]
        for _ in range(BESIDE if here else 0):
            choices = self._choices(here[self._chance.randrange(len(here))])
            drawn = [packing.area[packing.bins[choices[self._chance.randrange(len(choices))]].cards[0]] for _ in range(DRAWN)]
            best = max(drawn, key=lambda one: max(packing.free[card] for card in packing.areas[one]))
            if best not in found:
                found.append(best)
        return found

    def _others(self, area: int) -> int:
        """How many areas there are where something of this one may be."""
        packing = self.packing
        lists = {id(bins): bins for bins in map(self._choices, self._content([area])[0])}.values()
        return len({packing.area[packing.bins[at].cards[0]] for bins in lists for at in bins} - {area})

    def _choices(self, number: int) -> Sequence[int]:
        item = self.packing.items[number]
        return self.packing.kinds[item.kind].bins if item.only is None else sorted(item.only)
