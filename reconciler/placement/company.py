"""Which models are never on one card with each other, and which only beside others (`never_with` and `with`)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence, Set

from reconciler.capacity import Card
from reconciler.fleet import Ensure, ModelSpec
from reconciler.needs.run_settings import in_ram
from reconciler.placement.result import Target

NEVER_WITH, WITH = "never_with", "with"
NOBODY: frozenset[str] = frozenset()


class Company:
    """By name: `foes` it is never on one card with, whoever of the two says so; `mates` beside which alone it may be; `followers` that may
    only be beside it. `involved` are all of these models; the `placed_twice` wait for another or have others wait for them."""

    def __init__(self, models: Iterable[ModelSpec]) -> None:
        foes: dict[str, set[str]] = defaultdict(set)
        followers: dict[str, set[str]] = defaultdict(set)
        self.mates: dict[str, Sequence[str]] = {}
        for model in models:
            for other in model.never_with:
                foes[model.name].add(other)
                foes[other].add(model.name)
            if model.with_models:
                self.mates[model.name] = model.with_models
                for other in model.with_models:
                    followers[other].add(model.name)
        self.foes: Mapping[str, Set[str]] = foes
        self.followers: Mapping[str, Set[str]] = followers
        self.placed_twice: Set[str] = self.mates.keys() | followers.keys()
        self.involved: Set[str] = foes.keys() | self.placed_twice

    def mates_first(self, models: Sequence[ModelSpec]) -> Sequence[ModelSpec]:
        """These models in their order, but each after those beside which it is; of a ring, which has no place, the first comes last."""
        if not self.mates:
            return models
        by_name = {model.name: model for model in models}
        found: dict[str, ModelSpec] = {}
        asked: set[str] = set()
        for model in models:
            waiting = [model]
            while waiting:
                one = waiting[-1]
                asked.add(one.name)
                mate = next((other for other in self.mates.get(one.name, ()) if other in by_name and other not in asked), None)
                if mate is None:
                    found.setdefault(one.name, waiting.pop())
                else:
                    waiting.append(by_name[mate])
        return tuple(found.values())


def cards_of(target: Target) -> Set[Card]:
    """The cards on which a replica is, or may be; none of what is only to be on the disk."""
    if target.model.ensure is not Ensure.LOADED:
        return set()
    if target.charges:
        return {card for card, _ in target.charges if not card.is_ram}
    return set() if in_ram(target.slot, target.model) else set(target.slot.cards or ())
