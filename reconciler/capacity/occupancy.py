"""Who is where and what it takes: every card and engine of a fleet, and all that holds room there.

The only place where bytes of cards are added up: placement, ordering, the check of a saved plan and a run put and remove what they are
about, and ask. What is put takes its room once, and what is removed gives back just what it took; there is no other way to change a sum.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from reconciler.capacity.cards import Card, CardHolding
from reconciler.capacity.engine_state import EngineState, Holding
from reconciler.fleet import EngineId, FleetWeights, ModelSpec
from reconciler.needs.knowledge import Knowledge


class OccupancyError(Exception):
    """Something was put where it is already, or removed where it is not."""


@dataclass(slots=True)
class Occupancy:
    """Every engine of the fleet by id, every card in node order, and what is there. Mutable on purpose and private to one run: a fleet of
    80,000 cards is charged and discharged in place. `own_cards` has by address the agents that hold a card of their own, `weights` what
    its Ollamas tell of names."""

    slots: Mapping[EngineId, EngineState]
    cards: tuple[Card, ...]
    by_node: Mapping[str, tuple[EngineState, ...]]
    own_cards: dict[str, CardHolding] = field(default_factory=dict)
    weights: FleetWeights = field(default_factory=lambda: FleetWeights(()))
    _undo: list[Holding | CardHolding] = field(default_factory=list)
    _trials: int = 0

    def __iter__(self) -> Iterator[EngineState]:
        return iter(self.slots.values())

    def let_go(self) -> None:
        """Breaks the circles of a board that nobody asks any more: engines know what they hold and how their like run a model, and are
        known to it. While the cycle collector is off nothing else frees them, and a large plan is written in their memory."""
        nothing = Knowledge()
        for slot in self:
            slot.runners.clear()
            slot.knowledge = nothing

    def put(self, holding: Holding | CardHolding) -> None:
        """Takes the room of what is not there. OccupancyError: it is there, or another has its runner."""
        if isinstance(holding, CardHolding):
            self._move(holding, there=True)
            return
        slot = holding.slot
        if holding.there or (holding.runner and holding.runner in slot.runners):
            raise OccupancyError(f"{holding.runner or 'a resident'} takes its room on {slot.id} twice")
        holding.there = True
        if slot.spec.memory_limit is None:
            for card, count in holding.charges:
                card.held += count
        else:
            for card, count in holding.charges:
                card.held += count
                slot.own[card.index] = slot.own.get(card.index, 0) + count
        if holding.cache:
            _change_cache(holding, holding.cache)
        if holding.counts:
            slot.placed += 1
        if holding.load is not None:
            slot.coming[holding.load[0]] = holding.load[1]
        if holding.runner:
            slot.runners[holding.runner] = holding
        if self._trials:
            self._undo.append(holding)

    def remove(self, holding: Holding | CardHolding) -> None:
        """Gives the room back of what is there. OccupancyError: it is not there."""
        if isinstance(holding, CardHolding):
            self._move(holding, there=False)
            return
        slot = holding.slot
        if not holding.there:
            raise OccupancyError(f"{holding.runner or 'a resident'} gives its room on {slot.id} back twice")
        holding.there = False
        if slot.spec.memory_limit is None:
            for card, count in holding.charges:
                card.held -= count
        else:
            for card, count in holding.charges:
                card.held -= count
                slot.own[card.index] -= count
        if holding.cache:
            _change_cache(holding, -holding.cache)
        if holding.counts:
            slot.placed -= 1
        if holding.load is not None:
            del slot.coming[holding.load[0]]
        if holding.runner:
            del slot.runners[holding.runner]
        if self._trials:
            self._undo.append(holding)

    def _move(self, holding: CardHolding, *, there: bool) -> None:
        """Puts or removes what is on cards alone."""
        if holding.there is there:
            raise OccupancyError(f"what holds a card by itself {'takes its room' if there else 'gives its room back'} twice")
        holding.there = there
        for card, count in holding.charges:
            card.held += count if there else -count
        if self._trials:
            self._undo.append(holding)

    def hold_runner(self, holding: Holding, runner: str, model: ModelSpec) -> None:
        """From now on what is there is this runner of its engine, started for `model`, unless another one is that already."""
        if not holding.runner and runner not in holding.slot.runners:
            holding.runner, holding.started_for = runner, model
            holding.slot.runners[runner] = holding

    def trial(self) -> Trial:
        """A block after which all is as it was before."""
        return Trial(self)

    def as_found(self) -> None:
        """What is there now is what was found: `before` of every card, and of the engines with a limit of their own."""
        for card in self.cards:
            card.before, card.cache_before = card.held, card.cache
        for slot in self:
            slot.ram.before = slot.ram.held
            if slot.own:
                slot.own_before = dict(slot.own)


def _change_cache(holding: Holding, count: int) -> None:
    for card, _ in holding.charges:
        card.cache += count


class Trial:
    """A block in which holdings are put and removed only to ask; at its end every sum is as before."""

    __slots__ = ("_mark", "_occupancy")

    def __init__(self, occupancy: Occupancy) -> None:
        self._occupancy = occupancy
        self._mark = len(occupancy._undo)

    def __enter__(self) -> None:
        self._occupancy._trials += 1

    def __exit__(self, *_: object) -> None:
        done = self._occupancy._undo
        changed = done[self._mark :]
        trials, self._occupancy._trials = self._occupancy._trials, 0
        for holding in reversed(changed):
            if holding.there:
                self._occupancy.remove(holding)
            else:
                self._occupancy.put(holding)
        del done[self._mark :]
        self._occupancy._trials = trials - 1
