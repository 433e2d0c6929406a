"""One model's process: it takes memory, loads, serves, and gives the memory back late."""

from __future__ import annotations

import asyncio

from reconciler.sim.cards import Allocation, Card, split
from reconciler.sim.engine import Engine
from reconciler.sim.errors import OutOfMemory
from reconciler.sim.faults import LOAD_KINDS
from reconciler.sim.llamacpp.answers import context_of
from reconciler.sim.spec import SimModel


class LoadDied(Exception):
    """The process ended with status 1 before it was ready."""


class ModelProcess:
    """A child of the router, or the whole of a single server. Made anew for each load."""

    def __init__(self, engine: Engine, model: SimModel) -> None:
        self._engine, self.model = engine, model
        self._allocation: Allocation | None = None

    @property
    def bytes_on_cards(self) -> int:
        if self._allocation is None:
            return 0
        return sum(count for card, count in self._allocation.parts if card in self._engine.cards)

    @property
    def whole(self) -> bool:
        """Whether all of it is on cards."""
        return self._allocation is not None and 0 < self.bytes_on_cards == self._allocation.bytes

    async def load(self) -> None:
        """Returns when the model is ready. Raises LoadDied, with all memory given back."""
        engine, model = self._engine, self.model
        fault = engine.faults.strike_model(LOAD_KINDS, (model.name,))
        total = model.resident_bytes(context_of(model, engine.spec), engine.spec.num_parallel)
        if fault is not None and fault.kind == "hang_load":
            await asyncio.Event().wait()
        try:
            self._allocation = Allocation(self._parts(total))
        except OutOfMemory as error:
            await engine.clock.sleep(engine.spec.load_seconds)
            raise LoadDied(str(error)) from None
        try:
            await engine.clock.sleep(engine.load_duration(total))
            if fault is not None:
                raise LoadDied(fault.text or fault.kind)
        except BaseException:
            self.free()
            raise

    def free(self) -> None:
        """The process is gone: its memory is back at once."""
        if self._allocation is not None:
            self._allocation.free()

    def free_late(self) -> None:
        """The process has stopped; the driver gives its memory back after `release_seconds`."""
        self._engine.clock.later(self._engine.spec.release_seconds, self.free)

    def _parts(self, total: int) -> list[tuple[Card, int]]:
        """All on the cards, or with `-fit on` as many layers as have room; in RAM where there is no card (common/fit.cpp)."""
        engine, model = self._engine, self.model
        if not engine.cards:
            return [(engine.ram, total)]
        margin = engine.spec.fit_margin if engine.spec.fit else 0
        room = sum(max(0, card.free - margin) for card in engine.cards) - model.overhead
        if not engine.spec.fit or room >= total:
            return split(total + model.overhead, engine.cards, margin)
        steps = model.layers + 1
        on_cards = total * max(0, room * steps // max(1, total)) // steps
        taken = split(on_cards + model.overhead, engine.cards, margin) if on_cards else []
        return [*taken, (engine.ram, total - on_cards)]
