"""What can leave an engine as one, and who was compared."""

from __future__ import annotations

from dataclasses import dataclass

from reconciler.capacity import EngineState, Holding, Occupancy, total
from reconciler.fleet import ModelSpec
from reconciler.placement.residents import Occupant
from reconciler.placement.result import Target


@dataclass(slots=True, eq=False)
class Leaving:
    """What can leave an engine as one: a replica, all the names on one runner, or a resident that is no target (`found`): one that
    yields, or one that is not as wanted, matters less, and found no room to be loaded anew."""

    slot: EngineState
    holdings: tuple[Holding, ...]
    targets: tuple[Target, ...] = ()
    found: Occupant | None = None

    @property
    def priority(self) -> int:
        """That of the most important of its names."""
        models = [target.model for target in self.targets] if self.found is None else [self.found.model, *self.found.also]
        return max((model.priority for model in models if model is not None), default=0)

    @property
    def name(self) -> str:
        return self.targets[0].model.name if self.found is None else self.found.resident.name

    @property
    def bytes(self) -> int:
        return sum(total(holding.charges) for holding in self.holdings)

    def lift(self, board: Occupancy) -> None:
        """Gives its room back."""
        for holding in self.holdings:
            board.remove(holding)

    def set_down(self, board: Occupancy) -> None:
        """Takes its room again."""
        for holding in self.holdings:
            board.put(holding)


@dataclass(frozen=True, slots=True, eq=False)
class Compared:
    """Who would have to leave an engine for `model`, as it stood in `state`."""

    model: ModelSpec
    state: object
    victims: list[Leaving] | None
