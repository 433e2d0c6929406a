"""What has no place gets one by moves of others, what matters less gives way, and what moved without need goes back.

A large-neighbourhood search: a few cards at a time are taken apart and filled anew (`rebuild`). Its answer is never worse than what it was
given: first the bytes without a place count, by priority, then the bytes that move. It is bounded by looks, not by time, and draws by a
fixed seed over what there is in an order of its own, so the same board gives the same answer.

An answer is one that the search itself would leave alone: it ends only with a round that begins with all where it is to be and finds
nothing. The plan after an apply is that round again.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from math import comb

from reconciler.capacity import Item, Taken
from reconciler.placement.neighbourhoods import BESIDE, NODES, SET_UP, Neighbourhoods, Places

SCANNED = 8
"""How many bins that are only looked at cost as much as one partial answer."""
NODES_OF_ALL = 8_000
"""The same where all areas of a small fleet are rebuilt together: to do that again would find nothing else."""
DRAWS_EACH = 2
"""How often areas are drawn, for each choice of them that there is."""
FEW_DRAWS = 16
"""After how many draws in vain it is asked how many choices there are."""
FEW_BINS = 8
"""In how many bins room is made at first."""
COMPARED = 64
"""How many bins are compared where something of lower priority gives way."""
WIDEST = 5
"""How many areas are rebuilt together to bring back what moved."""


class Search(Neighbourhoods):
    """One run over a packing, which it changes."""

    def run(self) -> None:
        """Places what it can."""
        self._pack_what_is_new()
        while self._lacking() and self.work > 0:
            if not self._round():
                break
            self.settle()

    def _round(self) -> bool:
        """Whether something more has a place, where all that has one is taken to be there already."""
        items = self.packing.items
        homes = [(item.home, item.home_charges) for item in items]
        for item in items:
            item.home, item.home_charges = item.at, item.charges
        self._renumber()
        before = self._left_out()
        self._chance = random.Random(0)  # noqa: S311 - choices of a search, not a secret
        self._place_lacking()
        for item, (home, charges) in zip(items, homes, strict=True):
            item.home, item.home_charges = home, charges
        return self._left_out() < before

    def _lacking(self) -> list[int]:
        """What has no place, the most important first, of those the largest."""
        items = self.packing.items
        return sorted((n for n, item in enumerate(items) if item.at is None and item.wanted), key=self._rank.__getitem__)

    def _left_out(self) -> tuple[int, ...]:
        """The bytes without a place by priority, the highest first."""
        left = dict.fromkeys(sorted({item.priority for item in self.packing.items}, reverse=True), 0)
        for item in self.packing.items:
            if item.at is None and item.wanted:
                left[item.priority] += item.size
        return tuple(left.values())

    def _pack_what_is_new(self) -> None:
        """What is to be loaded anyway goes where it fits best, where that leaves less out."""
        packing, before = self.packing, self._left_out()
        new = [n for n in range(len(packing.items)) if packing.items[n].new]
        if len(new) * len(packing.bins) > self.patience * SCANNED:
            return  # moving what is new one by one is cheaper then
        old = {n: (packing.items[n].at, packing.items[n].charges) for n in new}
        for n in new:
            packing.lift(n)
        for n in sorted(new, key=self._rank.__getitem__):
            self._best_fit(n)
        if self._left_out() >= before:
            packing.back_to(old)

    def _best_fit(self, number: int) -> bool:
        """Whether it has a place where nobody moves: its home, else where it leaves the least."""
        packing, home = self.packing, self.packing.items[number].home
        self.work -= 1 + len(self._choices(number)) // SCANNED
        best: tuple[int, int, Taken] | None = None
        for at in packing.bins_of(number):
            charges = packing.fits(number, at)
            if charges is not None:
                if at == home:
                    best = 0, at, charges
                    break
                left = min(packing.free[card] for card, _ in charges)
                if best is None or left < best[0]:
                    best = left, at, charges
        if best is None:
            return False
        packing.put(number, best[1], best[2])
        return True

    def _place_lacking(self) -> None:
        limit, tries, width = self.work - self.patience, 4, FEW_BINS
        most = _draws(len(self.packing.areas) - 1)
        while self.work > max(0, limit):
            lacking = self._that_may_be_found()
            if not lacking:
                return
            found = False
            for number in lacking:
                if self.packing.items[number].at is not None:
                    continue
                last = tries >= most and width >= len(self.packing.bins)
                if (
                    self._best_fit(number)
                    or self._by_moves(number, tries, width, limit)
                    or self._by_priority(number)
                    or (last and self._by_moves_without_others(number, limit))
                ):
                    limit, found = self.work - self.patience, True
                if self.work <= max(0, limit):
                    return
            if not found and tries >= most and width >= len(self.packing.bins):
                return
            tries, width = min(tries * 2, most), width * 2

    def _that_may_be_found(self) -> list[int]:
        """What has no place, as far as so much is free at all, or something may give way to it."""
        items = self.packing.items
        there = [item for item in items if item.at is not None]
        lowest = min((item.priority for item in there), default=0)
        strangers = any(not item.wanted for item in there)
        smallest: dict[int, int] = {}
        for item in there:
            if item.new:
                smallest[item.priority] = min(item.size, smallest.get(item.priority, item.size))
        unused = self.packing.unused

        def may(item: Item) -> bool:
            return item.size <= unused or strangers or lowest < item.priority or smallest.get(item.priority, item.size) < item.size

        return [number for number in self._lacking() if may(items[number])]

    def _lower(self, card: int, item: Item) -> list[int]:
        """What is on a card and gives way to an item: what matters less, and what is new, equal and smaller."""
        items = self.packing.items
        return [number for number in self.packing.on_card[card] if _gives_way(items[number], item)]

    def _by_moves(self, number: int, tries: int, width: int, limit: int) -> bool:
        """Whether it has a place after others moved, in one of the bins where the least is missing."""
        packing = self.packing
        item = packing.items[number]
        self.work -= len(self._choices(number)) // SCANNED
        missing: list[tuple[int, int, tuple[int, ...]]] = []
        for at in packing.bins_of(number):
            seat = packing.kinds[item.kind].seat(at)
            if seat is None or packing.kinds[item.kind].beside_itself(packing.bins[at], at):
                continue
            cards = packing.bins[at].cards
            short = [packing.missing(card, seat) for card in cards]
            enough = [least <= packing.held(card, packing.on_card[card]) for card, least in zip(cards, short, strict=True)]
            if seat.on_all:
                missing += [(sum(least for least in short if least > 0), at, cards)] if all(enough) else []
            else:
                missing += [(short[n], at, (card,)) for n, card in enumerate(cards) if enough[n]]
        missing.sort()
        for _, at, cards in missing[:width]:
            if self.work <= max(0, limit):
                return False
            if self._make_room(number, at, cards, tries):
                return True
        return False

    def _by_moves_without_others(self, number: int, limit: int) -> bool:
        """Whether it has a place by a few moves after all had left that gives way to it, on whatever card, where less is left out once
        these have places again."""
        packing, before = self.packing, self._left_out()
        gone = [n for n, one in enumerate(packing.items) if one.at is not None and one.wanted and _gives_way(one, packing.items[number])]
        if not gone or SET_UP * len(gone) > self.patience:
            return False
        self.work -= SET_UP * len(gone)
        old: Places = {n: (one.at, one.charges) for n, one in enumerate(packing.items)}
        for n in gone:
            packing.lift(n)
        if self._best_fit(number) or self._by_moves(number, FEW_DRAWS, FEW_BINS, limit):
            away = []
            for n in sorted(gone, key=self._rank.__getitem__):
                at, charges = old[n]
                if at is not None and packing.fits(n, at) == charges:
                    packing.put(n, at, charges)
                else:
                    away.append(n)
            for n in away:
                if not self._best_fit(n):
                    self._by_moves(n, FEW_DRAWS, FEW_BINS, limit)
            if self._left_out() < before:
                return True
        packing.back_to(old)
        return False

    def _make_room(self, number: int, at: int, cards: Sequence[int], tries: int) -> bool:
        """Whether it has a place in this bin after bytes were taken off these of its cards, by rebuilding their area with others again and
        again."""
        packing = self.packing
        before: Places = {}
        failed, most, known = 0, tries, set[tuple[int, ...]]()
        while True:
            charges = packing.fits(number, at)
            if charges is not None:
                packing.put(number, at, charges)
                return True
            if failed >= most or self.work <= 0:
                packing.back_to(before)
                return False
            areas = self._beside(packing.area[cards[0]])
            key = tuple(sorted(areas))
            if key not in known and self._take_off(number, at, cards, areas, before):
                failed, most = 0, tries
                known.clear()
            else:
                failed += 1
                known.add(key)
                if failed == FEW_DRAWS:
                    most = min(tries, max(FEW_DRAWS, _draws(self._others(packing.area[cards[0]]))))

    def _take_off(self, number: int, at: int, cards: Sequence[int], areas: Sequence[int], before: Places) -> bool:
        """Whether less is on the first of the cards that have too little after these areas were rebuilt, and no less is free of the others.
        `before` has where the items were at first."""
        packing = self.packing
        seat = packing.kinds[packing.items[number].kind].seat(at)
        short = [card for card in cards if seat is not None and packing.missing(card, seat) > 0] or cards
        sink = next((card for card in short if packing.on_card[card]), short[0])
        load = packing.held(sink, packing.on_card[sink])
        if seat is None or not load:
            self.work -= 1
            return False
        numbers, bins = self._content(areas)
        goal = load - max(0, packing.missing(sink, seat))
        nodes = NODES_OF_ALL if len(areas) == len(packing.areas) else NODES
        kind = packing.kinds[packing.items[number].kind]
        there = {n for n in numbers if packing.kinds[packing.items[n].kind] in (kind, *kind.foes)}

        def cost(n: int, b: int) -> int:
            """What keeps the item away from its bin is worse there than all bytes on the card."""
            return load if n in there and packing.keeps_away(n, b, kind, at) else 0

        now = load + sum(cost(n, packing.items[n].at or 0) for n in there)
        aside = packing.set_aside([card for card in cards if card != sink], seat.takes + seat.spare)
        less = self._rebuilt(numbers, bins, cost, now, before, sinks=(sink,), goal=goal, nodes=nodes)
        packing.give_back(aside)
        return less

    def _by_priority(self, number: int) -> bool:
        """Whether it has a place where what matters less gives way: in the bin where the most important of that matters least."""
        packing = self.packing
        item = packing.items[number]
        self.work -= len(self._choices(number)) // SCANNED
        best: tuple[tuple[tuple[int, ...], int], int, list[int]] | None = None
        compared = 0
        for at in packing.bins_of(number):
            seat = packing.kinds[item.kind].seat(at)
            if seat is None or packing.kinds[item.kind].beside_itself(packing.bins[at], at):
                continue
            cards = packing.bins[at].cards
            if all(packing.missing(card, seat) > packing.held(card, self._lower(card, item)) for card in cards):
                continue
            victims = self._victims(number, at)
            if victims is None:
                continue
            lost = sorted((packing.items[n].priority for n in victims if packing.items[n].wanted), reverse=True)
            key = tuple(lost), sum(packing.items[n].size for n in victims)
            if best is None or key < best[0]:
                best = key, at, victims
            compared += 1
            if compared == COMPARED:
                break
        if best is None:
            return False
        for n in best[2]:
            packing.lift(n)
        charges = packing.fits(number, best[1])
        assert charges is not None
        packing.put(number, best[1], charges)
        return True

    def _victims(self, number: int, at: int) -> list[int] | None:
        """Who leaves for an item to fit in a bin, the least important first; None where that is not enough."""
        packing = self.packing
        items, item = packing.items, packing.items[number]
        there = [n for n in self._content([packing.area[packing.bins[at].cards[0]]])[0] if _gives_way(items[n], item)]
        there.sort(key=lambda n: (items[n].wanted, items[n].priority, not items[n].new, -items[n].size))
        old: Places = {}
        gone: list[int] = []
        for n in there:
            old[n] = items[n].at, items[n].charges
            packing.lift(n)
            gone.append(n)
            if packing.fits(number, at) is not None:
                break
        else:
            packing.back_to(old)
            return None
        for n in sorted(gone[:-1], key=lambda n: (not items[n].wanted, -items[n].priority, -items[n].size)):
            where, charges = old[n]
            assert where is not None
            packing.put(n, where, charges)
            if packing.fits(number, at) is None:
                packing.lift(n)
            else:
                gone.remove(n)
        packing.back_to(old)
        equal = sum(items[n].size for n in gone if items[n].wanted and items[n].priority == item.priority)
        return gone if equal < item.size else None

    # What moved without need goes back.

    def settle(self) -> None:
        """Brings back what moved, as far as all that has a place keeps one."""
        packing = self.packing
        for number, item in enumerate(packing.items):
            if not item.wanted and item.at is None and item.home is not None and (charges := packing.fits(number, item.home)) is not None:
                packing.put(number, item.home, charges)
        self._go_home()
        limit = self.work - self.patience
        for width in (0, 1, 2):
            found = True
            while found and self.work > max(0, limit):
                found = False
                for number in self._moved():
                    if packing.items[number].at != packing.items[number].home and self._goes_nearer(number, width):
                        found = True
                        self._go_home()
                    if self.work <= max(0, limit):
                        break

    def _go_home(self) -> None:
        """Whoever has room at home again goes there, until nobody has."""
        gone = True
        while gone:
            gone = any([*map(self._goes_home, self._moved())])

    def _moved(self) -> list[int]:
        items = self.packing.items
        moved = [n for n, item in enumerate(items) if item.home is not None and item.at is not None and item.at != item.home]
        return sorted(moved, key=self._rank.__getitem__)

    def _goes_home(self, number: int) -> bool:
        packing, item = self.packing, self.packing.items[number]
        if item.home is None or item.at is None or item.at == item.home:
            return False
        old = item.at, item.charges
        packing.lift(number)
        charges = packing.fits(number, item.home)
        if charges is None:
            packing.put(number, *old)
            return self._goes_home_for_a_twin(number, item.home, old)
        packing.put(number, item.home, charges)
        return True

    def _goes_home_for_a_twin(self, number: int, home: int, old: tuple[int, Taken]) -> bool:
        """Whether it has room at home once another replica of its model that came there has its place."""
        packing, item = self.packing, self.packing.items[number]
        there = [n for card, _ in item.home_charges for n in packing.on_card[card] if packing.items[n].kind == item.kind]
        for other in sorted(there, key=self._rank.__getitem__):
            twin = packing.items[other]
            if other == number or twin.at == twin.home or twin.only != item.only:
                continue
            before: Places = {number: old, other: (twin.at, twin.charges)}
            packing.lift(other)
            packing.lift(number)
            charges = packing.fits(number, home)
            if charges is not None:
                packing.put(number, home, charges)
                charges = packing.fits(other, old[0])
                if charges is not None:
                    packing.put(other, old[0], charges)
                    return True
            packing.back_to(before)
        return False

    def _goes_nearer(self, number: int, width: int) -> bool:
        """Whether less moves after its home and its place were rebuilt, with the homes of what is at its own."""
        packing, item = self.packing, self.packing.items[number]
        if item.home is None or item.at is None:
            return False
        home = packing.area[item.home_charges[0][0]]
        areas = dict.fromkeys([home, packing.area[item.charges[0][0]]])
        for card in packing.areas[home]:
            for other in sorted(packing.on_card[card], key=self._rank.__getitem__):
                one = packing.items[other]
                if one.home is not None and one.at != one.home and len(areas) < WIDEST:
                    areas.setdefault(packing.area[one.home_charges[0][0]])
        for _ in range(width):
            areas.update(dict.fromkeys(self._beside(home)[1:2]))
        numbers, bins = self._content(areas)
        now = sum(self._move(n, packing.items[n].at) for n in numbers)

        return now > 0 and self._rebuilt(numbers, bins, self._move, now, {})

    def _move(self, number: int, at: int | None) -> int:
        """What it disturbs that an item is in this bin."""
        item = self.packing.items[number]
        return 0 if item.home is None or item.home == at else item.size * item.weight


def _draws(others: int) -> int:
    """How often areas are drawn beside one, of so many others."""
    return DRAWS_EACH * comb(max(others, 1), min(BESIDE, max(others, 1)))


def _gives_way(one: Item, other: Item) -> bool:
    """Whether it may be without a place so that the other has one. What is resident leaves for nothing that matters as much; of what is to
    be loaded the larger one comes first."""
    if not one.wanted or one.priority < other.priority:
        return True
    return one.new and one.priority == other.priority and one.size < other.size
