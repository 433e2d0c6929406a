"""A placement that was decided earlier, over the fleet of now: its targets are given, and the rules that decided say what may leave."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from reconciler.capacity import Occupancy
from reconciler.fleet import Applied, Desired, Ensure, ModelSpec
from reconciler.placement.keep import is_there_without, leaves
from reconciler.placement.missing import groups_of
from reconciler.placement.residents import Occupant
from reconciler.placement.result import Target
from reconciler.placement.search_state import Placing


class Decided:
    """What placement knew when it had ended. `targets` are the replicas that are there, that come, or at which nobody can look; the board
    stays as it is."""

    def __init__(self, board: Occupancy, desired: Desired, applied: Applied, targets: Iterable[Target]) -> None:
        self._placing = Placing(board, desired, applied)
        self._placing.settled = True
        for model in self._placing.models:
            if model.each is not None:
                self._placing.groups_of[model.name] = groups_of(self._placing, model)
        for target in targets:
            self._placing.note(target)

    def may_leave(self, found: Occupant, comes: Collection[ModelSpec]) -> bool:
        """Whether a resident that is no target may leave: by the files and the policy, or for one of the models that come to its node, or
        become ours there."""
        return leaves(self._placing, found) or (bool(comes) and self._may_give_way(found, comes))

    def _may_give_way(self, found: Occupant, comes: Collection[ModelSpec]) -> bool:
        """Whether it yields, matters less, is wanted in no more places than its model has, or may only be beside what was not there yet."""
        priority, names = max(model.priority for model in comes), {model.name for model in comes}
        self._placing.may_yield(found)
        if found in self._placing.yielding[found.slot]:
            return True
        for model in (found.model, *found.also):
            if model is None or model.ensure is not Ensure.LOADED:
                continue
            here = self._placing.at[model.name]
            if not names.isdisjoint(model.with_models):
                return True
            if model.priority < priority or (model.priority == priority and here) or is_there_without(model, found.slot, here):
                return True
        return False
