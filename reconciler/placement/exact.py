"""The best placement there is, by mixed-integer programming: over every wanted replica and every engine where it may be.

It starts from a finished placement. Where counting proves that (`bound`), it is left as it is. Else one program is solved for each term
of the objective in turn, the highest priority first, each with what was reached before as a row. The answer is tried on the board, whose
arithmetic alone says what holds: what it refuses is forbidden, and all is solved again. What the program knows: cards with what stays on
them, how many models an engine takes, an engine's own limit, spread that was written, groups of an `each`, and who is never or only beside
whom. What it does not know stays where it is: variants, shared weights, what yields, parts in RAM; then it claims no proof.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace

from reconciler.capacity import Card, Charges, EngineState, by_card, largest, total
from reconciler.fleet import Ensure, ModelSpec, Residency, Spread
from reconciler.fleet.units import MIB
from reconciler.needs.run_settings import in_ram
from reconciler.placement.answers import carry_out, refused
from reconciler.placement.company import NOBODY, cards_of
from reconciler.placement.fit import part_on, static_refusal
from reconciler.placement.leaving import Leaving
from reconciler.placement.mip import Program, RowSums, SolverBudget, solve
from reconciler.placement.missing import place_missing
from reconciler.placement.objective import ALONE, ranks_of, replica_bytes
from reconciler.placement.preemption import together
from reconciler.placement.residents import need_on
from reconciler.placement.result import Proof, SolverEnd
from reconciler.placement.search_state import Placing
from reconciler.value_class import value_class

Places = Mapping[str, Set[EngineState]]
"""The engines of each model."""
HALF = 0.5
"""What each term of the objective but the last may spend of what is left."""
ROUNDS_BACK = 8
"""How often every replica that moved is tried where it was, since others went back too."""
SETTLINGS = 8
"""How often all is asked again after its work was used up."""
REFUSALS = 3
"""How often all is solved again without the places that the board refused."""


@value_class
class _Spot:
    """Engines that are all the same to a demand, as those on one card: the number of replicas there, and what one takes."""

    number: int
    slots: tuple[EngineState, ...]
    charges: Charges


_Seat = tuple[int, Set[Card], EngineState]
"""The number of a spot of one engine, the cards on which a replica there is or may be, and the engine."""


@dataclass(slots=True)
class _Demand:
    """Replicas of a model (of one group of an `each`): how many are asked for, where they may be with what they take there, and where they
    are resident. `stay` are its replicas that no plan moves, `missing` is the number of those without a place."""

    model: ModelSpec
    count: int
    size: int
    seats: dict[EngineState, Charges]
    homes: Set[EngineState]
    stay: Sequence[EngineState] = ()
    spots: list[_Spot] = field(default_factory=list)
    missing: int = -1

    def alike(self, in_company: bool) -> Iterator[tuple[EngineState, ...]]:
        """The engines of its seats, put together where only their cards' bytes bound them; never where it matters who else is there."""
        together: dict[object, list[EngineState]] = {}
        for slot, charges in self.seats.items():
            alone = in_company or slot in self.homes or slot.rules.most is not None or slot.spec.memory_limit is not None
            together.setdefault(slot if alone else charges, []).append(slot)
        return map(tuple, together.values())

    def homes_by_number(self) -> Mapping[int, int]:
        """Where it is resident: the bytes there by number."""
        weigh = total if self.model.is_split else largest
        return {spot.number: weigh(spot.charges) or 0 for spot in self.spots if spot.slots[0] in self.homes}


def improve(placing: Placing, budget: SolverBudget) -> Proof:
    """Makes a finished run better where it can be, and says what is proved. The budget is for each time that it is asked: where it was used
    up, all is asked again with what was found taken for what is there, as the next plan will, until that finds nothing.

    SolverMissing: HiGHS is not installed.
    """
    proof = _improve(placing, replace(budget), there=False)
    for _ in range(SETTLINGS):
        if proof.ended is SolverEnd.PROVED or not placing.result.lacking:
            break
        version = _what_is_lacking(placing)
        again = _improve(placing, replace(budget), there=True)
        if _what_is_lacking(placing) == version:
            break
        proof = replace(again, ended=proof.ended, disturbance=0)
    return proof


def _what_is_lacking(placing: Placing) -> Mapping[str, int]:
    return Counter({entry.model.name: entry.count for entry in placing.result.lacking})


def _improve(placing: Placing, budget: SolverBudget, there: bool) -> Proof:
    never: set[tuple[str, EngineState]] = set()
    for _ in range(REFUSALS):
        proof, places = _Question(placing, never, there).answer(budget)
        wrong = refused(placing, _leaving(placing, places), _coming(placing, places))
        if not wrong:
            _carry_out(placing, places)
            return proof if not never else Proof(proof.ended, False)
        never |= wrong
    return Proof(SolverEnd.REFUSED, False)


class _Question:
    """A finished run as a program. `there`: what has a place counts as resident in it, and nothing else does."""

    def __init__(self, placing: Placing, refused: Set[tuple[str, EngineState]], there: bool) -> None:
        self.placing, self.refused, self.there = placing, refused, there
        self.ranks = ranks_of(placing.desired)
        self.whole = not any(placing.yielding.values())
        self.demands = list(self._demands())
        self.program = Program()
        self.start: list[int] = []
        self._places()
        self._cards()
        self._engines()
        self._spread()
        self._company()

    def _demands(self) -> Iterator[_Demand]:
        placing = self.placing
        not_here = placing.without_room_here()
        for model in placing.models:
            if model.ensure is not Ensure.LOADED:
                continue
            known = not model.variants and model.name not in placing.may_share and model.residency is Residency.GPU
            if not known or model.name in not_here:
                self.whole = self.whole and not known and model.residency is Residency.CPU
                continue
            at = placing.at[model.name]
            stay = [slot for slot, target in at.items() if target.stays or not slot.takes_orders]
            homes = set(at) if self.there else {found.slot for found in placing.found_of[model.name]}
            if model.each is None:
                usable = dict.fromkeys((*placing.class_of(model).slots, *at, *homes))
                yield self._demand(model, (model.replicas or 0) - len(stay), usable, homes, stay)
                continue
            for group in placing.groups_of[model.name]:
                if any(slot in stay for slot in group) or not any(slot.reachable and slot.selected for slot in group):
                    continue
                usable = dict.fromkeys(slot for slot in group if slot in homes or slot not in placing.class_of(model).refused)
                yield self._demand(model, 1, usable, homes & set(group), stay)

    def _demand(
        self, model: ModelSpec, count: int, usable: Mapping[EngineState, None], homes: Set[EngineState], stay: Sequence[EngineState]
    ) -> _Demand:
        seats = {}
        for slot in usable:
            charges = None if slot in stay or (model.name, slot) in self.refused else self._seat(model, slot)
            if charges is not None:
                seats[slot] = charges
        size = replica_bytes(self.placing.board, model, self.placing.applied)
        return _Demand(model, max(0, count), size, seats, homes & seats.keys(), stay)

    def _seat(self, model: ModelSpec, slot: EngineState) -> Charges | None:
        """What a replica takes there: as it does now or did as found, else as a new one does where everything else has left."""
        placing = self.placing
        target = placing.at[model.name].get(slot)
        if target is not None:
            return target.charges if target.holding is not None and not any(card.is_ram for card, _ in target.charges) else None
        if model.name in placing.company.mates and len(slot.cards or ()) != 1:
            return None
        if not slot.takes_orders or not slot.cards or in_ram(slot, model):
            return None
        found = next((one for one in placing.found_of[model.name] if one.slot is slot), None)
        if found is not None and not self.there:
            return found.charges if not found.there else None
        need = need_on(slot, model, placing.applied)
        if need is None or static_refusal(slot, model) is not None:
            return None
        if len(slot.cards) == 1:
            return ((slot.cards[0], need.bytes),)
        if model.is_split:
            return tuple((card, part_on(slot, model, need, placing.applied)) for card in slot.cards)
        # Which of several cards takes it nobody can say: it counts on every one that could.
        self.whole = False
        fitting = tuple((card, need.bytes) for card in slot.cards if card.capacity >= need.bytes)
        if fitting or slot.is_sliced:
            return fitting or None
        return tuple((card, -(-need.bytes // len(slot.cards))) for card in slot.cards)

    def _places(self) -> None:
        """The numbers: how many replicas are in a spot, and how many of each demand have no place."""
        program = self.program
        for demand in self.demands:
            now = self.placing.at[demand.model.name]
            for slots in demand.alike(demand.model.name in self.placing.company.involved):
                here = sum(slot in now for slot in slots)
                slots = tuple(sorted(slots, key=lambda slot: slot not in now))
                demand.spots.append(_Spot(program.number(len(slots)), slots, demand.seats[slots[0]]))
                self.start.append(here)
            demand.missing = program.number(demand.count)
            self.start.append(max(0, demand.count - sum(slot in now for slot in demand.seats)))
            program.row({**{spot.number: 1.0 for spot in demand.spots}, demand.missing: 1.0}, demand.count, demand.count)

    def _taken(self) -> Iterator[tuple[_Spot, int]]:
        """Every spot, and how many are there now."""
        return ((spot, self.start[spot.number]) for demand in self.demands for spot in demand.spots)

    def _cards(self) -> None:
        on_card: dict[Card, dict[int, float]] = defaultdict(dict)
        on_share: dict[tuple[EngineState, Card], dict[int, float]] = defaultdict(dict)
        coming: dict[Card, list[_Spot]] = defaultdict(list)
        now: dict[EngineState, list[Charges]] = defaultdict(list)
        for demand in self.demands:
            for spot in demand.spots:
                slot = spot.slots[0]
                now[slot] += [spot.charges] * self.start[spot.number]
                for card, count in spot.charges:
                    on_card[card][spot.number] = count / MIB
                    if slot not in demand.homes:
                        coming[card].append(spot)
                    if slot.spec.memory_limit is not None:
                        on_share[slot, card][spot.number] = count / MIB
        moves = by_card(charges for some in now.values() for charges in some)
        for card, terms in on_card.items():
            if card.over:  # it may hold what it holds as found, or what it may hold, if anything new comes
                terms[self._any(coming[card])] = card.over / MIB
            self.program.row(terms, upper=max(0, card.left_without(moves.get(card, 0))) / MIB)
        for (slot, card), terms in on_share.items():
            left = slot.own_left_without(card, by_card(now[slot]).get(card, 0))
            self.program.row(terms, upper=max(0, left) / MIB)

    def _any(self, spots: Sequence[_Spot]) -> int:
        """A number that is 1 where a replica is in any of these spots."""
        number = self.program.number()
        self.start.append(int(any(self.start[spot.number] for spot in spots)))
        for spot in spots:
            self.program.row({spot.number: 1.0, number: -float(len(spot.slots))}, upper=0.0)
        return number

    def _engines(self) -> None:
        on_slot: dict[EngineState, dict[int, float]] = defaultdict(dict)
        there: Counter[EngineState] = Counter()
        for spot, now in self._taken():
            slot = spot.slots[0]
            if slot.rules.most is not None:
                on_slot[slot][spot.number] = 1.0
                there[slot] += now
        for slot, terms in on_slot.items():
            found = len(slot.facts.residents or ()) if slot.facts is not None else 0
            most = max(slot.rules.most or 0, found)
            self.program.row(terms, upper=max(0, most - slot.placed + there[slot]))

    def _spread(self) -> None:
        by_model: dict[str, list[_Demand]] = defaultdict(list)
        for demand in self.demands:
            by_model[demand.model.name].append(demand)
        for demands in by_model.values():
            model, stay = demands[0].model, demands[0].stay
            if not model.spread_hard or model.spread is Spread.NONE:
                continue
            apart: dict[object, dict[int, float]] = defaultdict(dict)
            for demand in demands:
                for spot in demand.spots:
                    for where in _kept_apart(model, spot.slots[0]):
                        apart[where][spot.number] = 1.0
            taken = Counter(where for slot in stay for where in _kept_apart(model, slot))
            for where, terms in apart.items():
                self.program.row(terms, upper=max(0, 1 - taken[where]))

    def _company(self) -> None:
        """Of two that are never on one card at most one is there; what may only be beside another is where one of that is."""
        company, here = self.placing.company, self._in_company()
        for name, spots in here.items():
            for foe in company.foes.get(name, NOBODY):
                strays = [*self.placing.strays(foe)]
                self.whole = self.whole and not strays
                stay = [*self._staying(foe, here), *strays]
                for number, cards, _ in spots:
                    if any(cards & others for others in stay):
                        self.program.row({number: 1.0}, upper=self.start[number])
                    for other, others, _ in here.get(foe, ()) if name < foe else ():
                        if cards & others:
                            self.program.row({number: 1.0, other: 1.0}, upper=1)
        for name, mates in company.mates.items():
            waits = [({number: -1.0}, cards) for number, cards, _ in here.get(name, ())]
            waits += [({}, cards) for cards in self._staying(name, here)]
            for mate in mates:
                there = self._staying(mate, here)
                for terms, cards in waits:
                    if cards not in there:
                        beside = {other: 1.0 for other, others, _ in here.get(mate, ()) if others == cards}
                        least = 0.0 if terms else float(any(self.start[other] for other in beside))
                        self.program.row({**terms, **beside}, lower=least)

    def _in_company(self) -> Mapping[str, Sequence[_Seat]]:
        """Of each model that is never, or only, beside others: its spots, the cards of each, and the engine."""
        found: dict[str, list[_Seat]] = defaultdict(list)
        for demand in self.demands:
            name = demand.model.name
            for spot in demand.spots if name in self.placing.company.involved else ():
                slot = spot.slots[0]
                now = self.placing.at[name].get(slot)
                found[name].append((spot.number, cards_of(now) if now is not None else set(slot.cards or ()), slot))
        return found

    def _staying(self, name: str, here: Mapping[str, Sequence[_Seat]]) -> Sequence[Set[Card]]:
        """The cards of each replica of a model that is there, and that no answer of the program moves."""
        placing, moves = self.placing, {slot for _, _, slot in here.get(name, ())}
        return [cards_of(one) for slot, one in placing.at.get(name, {}).items() if slot not in moves and not placing.is_hoped_for(one)]

    def answer(self, budget: SolverBudget) -> tuple[Proof, Places]:
        """What is proved, and the engines of each model that was in the program."""
        numbers: Sequence[int] = self.start
        left_out, reached, ended = [], [], SolverEnd.PROVED
        for priority in sorted(self.ranks, reverse=True):
            cost = {one.missing: one.size / MIB for one in self.demands if one.model.priority == priority}
            now, least = sum(count * numbers[number] for number, count in cost.items()), 0.0
            if now:
                found = solve(self.program, cost, numbers, budget, HALF)
                numbers, now, least = found.numbers, found.cost, found.bound
                ended = found.ended if ended is SolverEnd.PROVED else ended
            left_out.append(round(least * MIB))
            reached.append(round(now * MIB))
            self.program.row(cost, upper=now)
        numbers = self._brought_back(numbers)
        disturbing, numbers, saved = self._disturbance(numbers)
        now = saved + sum(count * numbers[number] for number, count in disturbing.items())
        disturbance = 0
        if now:
            found = solve(self.program, disturbing, numbers, budget)
            numbers, disturbance = self._brought_back(found.numbers), round((found.bound + saved) * MIB)
            ended = found.ended if ended is SolverEnd.PROVED else ended
        places: dict[str, set[EngineState]] = defaultdict(set)
        for demand in self.demands:
            places[demand.model.name] |= {*demand.stay, *(slot for spot in demand.spots for slot in spot.slots[: numbers[spot.number]])}
        return Proof(ended, self.whole, tuple(left_out), tuple(reached), disturbance), places

    def _brought_back(self, numbers: Sequence[int]) -> list[int]:
        """The same with every replica where it is resident that fits there as all others are, the largest first: what is left out is not
        weighed against what moves, so a program that was not solved to its end may have moved what it need not."""
        numbers, held = [*numbers], RowSums(self.program, numbers)
        moved = [(-demand.size, demand.model.name, demand) for demand in self.demands]
        for _ in range(ROUNDS_BACK):
            back = False
            for _, _, demand in sorted(moved, key=lambda one: one[:2]):
                homes = [spot.number for spot in demand.spots if spot.slots[0] in demand.homes and not numbers[spot.number]]
                for home in homes:
                    away = [spot.number for spot in demand.spots if spot.slots[0] not in demand.homes and numbers[spot.number]]
                    back = any(held.moves(numbers, other, home) for other in away) or back
            if not back:
                break
        return numbers

    def _disturbance(self, numbers: Sequence[int]) -> tuple[Mapping[int, float], Sequence[int], float]:
        """The cost of what moves, the numbers that it needs beside the others, and what it would be if all moved: a replica that stays
        saves its part of that."""
        cost: dict[int, float] = {}
        start, whole = list(numbers), 0.0
        for demand in self.demands:
            if not demand.homes or not demand.count:
                continue
            rank = self.ranks[demand.model.priority]
            sizes = {number: count / MIB * rank for number, count in demand.homes_by_number().items()}
            stay = dict.fromkeys(sizes, 1.0)
            here = sum(numbers[number] for number in stay)
            twins = bool(demand.stay) or demand.model.each is not None
            if len(sizes) == 1:  # where the only one leaves, none stays: that needs no numbers of its own
                ((home, size),) = sizes.items()
                cost[home] = -size * (1 if twins else ALONE)
                whole -= cost[home]
                continue
            alone = self.program.number(0 if twins else 1)
            start.append(int(here == 0 and not twins))
            if not twins:
                self.program.row({**stay, alone: 1.0}, lower=1)
            if len(sizes) <= demand.count:
                whole += sum(sizes.values())
                cost.update((number, -size) for number, size in sizes.items())
                cost[alone] = sum(sizes.values()) * (ALONE - 1)
            else:  # more are there than wanted: of those that leave, the smallest would count
                leave, size = self.program.number(demand.count), min(sizes.values())
                start.append(max(0, demand.count - here))
                self.program.row({**stay, leave: 1.0}, lower=demand.count)
                cost[leave], cost[alone] = size, size * demand.count * (ALONE - 1)
        return cost, start, whole


def _kept_apart(model: ModelSpec, slot: EngineState) -> Sequence[object]:
    """What two replicas of a model must not share."""
    return (slot.id.node,) if model.spread is Spread.NODE else tuple(slot.cards or ())


def _leaving(placing: Placing, places: Places) -> list[Leaving]:
    """The targets that are not where they are to be."""
    slots = {slot for name in places for slot in placing.at[name]}
    return [
        one
        for slot in sorted(slots, key=lambda slot: slot.id)
        for one in together(placing, slot)
        if len(one.targets) == 1 and one.name in places and slot not in places[one.name]
    ]


def _coming(placing: Placing, places: Places) -> list[tuple[ModelSpec, EngineState]]:
    """The places that are not taken yet, as engines take loads: the most important first, then the largest; what may only be beside others
    after all of these."""
    new = [(model, slot) for model in placing.models for slot in places.get(model.name, ()) if slot not in placing.at[model.name]]
    new.sort(key=lambda one: (-one[0].priority, -(one[0].vram or 0), one[0].name, one[1].id))
    turn = {model.name: number for number, model in enumerate(placing.company.mates_first([model for model, _ in new]))}
    return sorted(new, key=lambda one: turn[one[0].name] if one[0].name in placing.company.mates else -1)


def _carry_out(placing: Placing, places: Places) -> None:
    """Puts each replica in its new place. What has none then, since the work was used up, is asked for once more."""
    coming = _coming(placing, places)
    if not coming:
        return
    carry_out(placing, _leaving(placing, places), coming, [model for model in placing.models if model.name in places])
    again = [entry.model for entry in placing.result.lacking if entry.model.name in places]
    placing.result.lacking = [entry for entry in placing.result.lacking if entry.model.name not in places]
    for model in again:
        place_missing(placing, model)
