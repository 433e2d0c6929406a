"""One change of a model's replica, before it is a step: what it takes and frees, and what it waits for."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass, field

from reconciler.capacity import Charges, EngineState
from reconciler.fleet import Order
from reconciler.planning.kinds.model.step import VariantChoice
from reconciler.planning.plan import Action, Cause, Fields, Reason
from reconciler.vram import Need


@dataclass(slots=True, eq=False)
class Change:
    """One step in the making. `frees` and `takes` are bytes on cards, `margin` those that its engine leaves free of each; `needs` are other
    changes that must be done before."""

    action: Action
    address: str
    model: str
    slot: EngineState
    engine_name: str
    base_name: str
    reason: Reason
    cause: Cause
    priority: int = 0
    frees: Charges = ()
    takes: Charges = ()
    margin: int = 0
    cache: tuple[int, int] = (0, 0)
    """Bytes of its KV cache on each card that it takes, and that it frees."""
    waits_for_all: bool = False
    """It asks for free memory beside its own (`when.free_vram`): whatever leaves its cards does so before a load of it."""
    apart: Set[str] = frozenset()
    """The models that it is never on one card with: what leaves of them there does so before it comes."""
    order: Order | None = None
    """Of an unload: whether its model is to be there elsewhere before."""
    need: Need | None = None
    seconds: float | None = None
    before: Fields = field(default_factory=dict)
    after: Fields = field(default_factory=dict)
    variant: VariantChoice | None = None
    by: str | None = None
    """The model for which it leaves."""
    made_room: bool = False
    """An unload that another model's load is the reason for: it waits for that model's pull."""
    spread: bool = False
    """It takes or frees a part on each of its engine's several cards, and not all of it on one of them."""
    beside: bool = False
    """An unload of what is beside the replica that the state has under the same address."""
    needs: list[Change] = field(default_factory=list)

    @property
    def id(self) -> str:
        return f"{self.action.value}:{self.address}" + (f"#{self.engine_name}" if self.beside else "")

    def reach(self) -> set[int]:
        """Everything that it needs, directly or not, by `id()`."""
        found: set[int] = set()
        left = list(self.needs)
        while left:
            one = left.pop()
            if id(one) not in found:
                found.add(id(one))
                left.extend(one.needs)
        return found

    def waits_for(self, other: Change) -> bool:
        return id(other) in self.reach()
