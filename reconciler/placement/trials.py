"""Tries on the finished board what would give an unplaced model a place. Nothing stays changed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence, Set
from dataclasses import replace
from typing import TypeVar

from reconciler.capacity import Card, EngineState, Holding, margin_for
from reconciler.fleet import MIB, Applied, Desired, ModelSpec, Spread
from reconciler.needs.run_settings import in_ram
from reconciler.placement.eligibility import refusal
from reconciler.placement.fit import Fit, fit, room_for
from reconciler.placement.residents import Occupant
from reconciler.placement.result import Placement, Target
from reconciler.value_class import value_class

Found = TypeVar("Found", bound=Target | Occupant)
HINT_LOOKS = 256
"""How many engines are tried for each line."""


@value_class
class Line:
    """A line for the reader; `change` does in the desired state what it says, where that alone is changed."""

    text: str
    change: Callable[[Desired], Desired] | None = None


def setting(name: str, **fields: object) -> Callable[[Desired], Desired]:
    """Sets these fields of a model."""

    def change(desired: Desired) -> Desired:
        models = tuple(replace(one, **fields) if one.name == name else one for one in desired.models)  # type: ignore[arg-type]  # by name
        return replace(desired, models=models)

    return change


class Trials:
    """Asks the finished board where `model`, in its smallest variant, would have a place if somebody left. What matters less and may leave
    is lifted too, since placement would displace it. `asked` are the engines that were asked (None: all of its nodes). Nothing stays
    changed."""

    def __init__(self, model: ModelSpec, placement: Placement, applied: Applied, asked: Sequence[EngineState] | None) -> None:
        self.model, self.placement, self.applied = model, placement, applied
        self.least = model.alternatives()[-1]
        taken = placement.slots_of(model.name)
        every: Sequence[EngineState] = [slot for node in model.nodes for slot in placement.board.by_node.get(node, ())]
        every = every if asked is None else asked
        self.near = [
            slot for slot in every if slot not in taken and refusal(slot, model) is None and not _stands_beside(model, slot, taken)
        ]
        self._near_on: dict[str, list[EngineState]] = defaultdict(list)
        for slot in self.near:
            self._near_on[slot.id.node].append(slot)
        self._lower: dict[str, list[Target]] | None = None

    @property
    def gets_room(self) -> bool:
        """Whether what matters less leaves for it: for what asks for free memory nobody does."""
        return self.model.when.free_vram is None

    def has_room(self) -> bool:
        """Whether an engine has room for it, or may have, whatever else speaks against that."""
        return any(
            isinstance(room, Fit) or room == "need_unknown"
            for room in (room_for(slot, self.least, self.applied) for slot in self.near[:HINT_LOOKS])
        )

    def may_look(self) -> bool:
        """Whether the plan may try lines for one model more: each is tried on many engines, and a large fleet may leave out many models."""
        return self.placement.hint_looks_left > 0

    def fits(self, slot: EngineState, model: ModelSpec | None = None) -> bool:
        """Whether `model` (None: this one) would have a place there, where what matters less leaves."""
        return self._fits_without(slot, self._lower_on(slot), model)

    def each_helps(self, leaving: Sequence[Target]) -> bool:
        """Whether it would have a place without any one of these, whichever that is."""
        return all(not one.stays and one.slot.takes_orders and self.helps([one]) for one in leaving)

    def most_that_fits(self, example: int, slots: Sequence[EngineState] | None = None) -> int | None:
        """The largest need in whole MiB, up to `example`, that would have a place on an engine (of `slots`) that takes it; None where none
        has."""
        fitting = []
        for slot in (self.near if slots is None else slots)[:HINT_LOOKS]:
            rooms = [max(0, slot.ram.free)] if in_ram(slot, self.least) else slot.rooms(margin_for(slot, self.least))
            rooms = [min(rooms, default=0) * len(rooms)] if self.least.is_split else rooms
            count = min(example, max(rooms, default=0)) // MIB * MIB
            if count and self._fits_without(slot, (), replace(self.least, vram=count)):
                fitting.append(count)
        return max(fitting, default=None)

    def most_free(self, asked: int) -> int | None:
        """The most bytes below `asked` that are free, in whole MiB, on an engine that nothing else keeps it from; None where none are."""
        known = replace(self.least, when=replace(self.least.when, free_vram=None))
        alone = [slot for slot in self.near[:HINT_LOOKS] if self.company(slot) == ([], [])]
        rooms = [room for slot in alone if isinstance(room := fit(slot, known, self.applied), Fit)]
        free = [min((card.free for card, _ in room.charges if not card.is_ram), default=0) // MIB * MIB for room in rooms]
        return max((count for count in free if count < asked), default=0) or None

    def company(self, slot: EngineState, gone: Set[str] = frozenset()) -> tuple[list[str], list[str]]:
        """The models on the cards of an engine that it is never with, and those that it is to be with and are not there, without `gone`."""
        there = {name for card in slot.cards or () for name in self.placement.holders.get(card, {})} - gone
        foes = set(self.placement.foes.get(self.model.name, ()))
        return sorted(foes & there), sorted(set(self.model.with_models) - there)

    def helps(self, leaving: Iterable[Found]) -> list[Found]:
        """Those of `leaving` that sit where the model would have a place without them, on the first such engine; none where it has none."""
        by_node: dict[str, list[Found]] = defaultdict(list)
        for one in leaving:
            by_node[one.slot.id.node].append(one)
        tried = [near for node, some in self._near_on.items() if node in by_node for near in some]
        for slot in tried[:HINT_LOOKS]:
            sits = _in_the_way(by_node[slot.id.node], slot, slot.places(in_ram(slot, self.least)))
            if sits and self._fits_without(slot, (*sits, *self._lower_on(slot))):
                return sits
        return []

    def _fits_without(self, slot: EngineState, leaving: Sequence[Target | Occupant], model: ModelSpec | None = None) -> bool:
        gone = {one.resident.name if isinstance(one, Occupant) else one.model.name for one in leaving}
        if not in_ram(slot, self.least) and self.company(slot, gone) != ([], []):
            return False
        self.placement.hint_looks_left -= 1
        with self.placement.board.trial():
            for holding in map(_holding, leaving):
                if holding is not None and holding.there:
                    self.placement.board.remove(holding)
            answer = fit(slot, model or self.least, self.applied)
        return isinstance(answer, Fit)

    def _lower_on(self, slot: EngineState) -> Sequence[Target]:
        if self._lower is None:
            self._lower = defaultdict(list)
            for one in self.placement.targets if self.gets_room else ():
                if one.model.priority < self.model.priority and one.slot.takes_orders and not one.stays:
                    self._lower[one.slot.id.node].append(one)
        return self._lower.get(slot.id.node, ())

    def takes_one_more(self, slot: EngineState) -> bool:
        """Whether a full engine had room for it if it took one model more: one that is there keeps its bytes and is not counted."""
        if not in_ram(slot, self.least) and self.company(slot) != ([], []):
            return False
        board = self.placement.board
        every = (*map(_holding, self.placement.targets), *self.placement.unwanted)
        for one in every:
            if one is not None and one.slot is slot and one.there and one.counts:
                with board.trial():
                    board.remove(one)
                    board.put(Holding(slot, one.charges, counts=False))
                    answer = fit(slot, self.least, self.applied)
                return isinstance(answer, Fit)
        return False


def _in_the_way(some: Sequence[Found], slot: EngineState, where: Sequence[Card]) -> list[Found]:
    return [one for one in some if one.slot is slot or any(card in where for card, _ in one.charges)]


def _holding(one: Target | Occupant) -> Holding | None:
    return one if isinstance(one, Occupant) else one.holding


def _stands_beside(model: ModelSpec, slot: EngineState, taken: Iterable[EngineState]) -> bool:
    """Whether a replica there would stand beside another one where a written `spread` forbids it."""
    if not model.spread_hard or model.spread is Spread.NONE:
        return False
    if model.spread is Spread.NODE:
        return any(other.id.node == slot.id.node for other in taken)
    return any(card in (other.cards or ()) for other in taken for card in slot.cards or ())
