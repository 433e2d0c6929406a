"""What a placement is worth, in the order in which it counts: bytes without a place by priority, then what it disturbs.

The strategy is the third term: it chooses among places that are equal in these two, and is no number here. Bytes count and not replicas: a
large model left out is worse than a small one; how many replicas they are is said beside. Pure.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from reconciler.capacity import Occupancy, largest, total
from reconciler.fleet import Applied, Desired, Ensure, ModelSpec
from reconciler.placement.residents import Occupant, most_needed
from reconciler.placement.result import MissingReplicas, Placement
from reconciler.value_class import value_class

ALONE = 16
"""How much more it counts that a model moves of which no other replica keeps serving. A preference and no measure: with a twin requests go
on, without one they fail for as long as the load takes."""


@value_class
class UnplacedBytes:
    """Replicas of one priority without a place: their bytes, by what one of each model needs, and how many they are."""

    priority: int
    bytes: int
    count: int


@value_class
class Objective:
    """`left_out` has every priority of what is wanted loaded, the highest first. `moved_bytes` and `moved` are replicas that leave their
    engine though they are wanted, for good or for another; those beside the wanted number are none. `disturbance` weighs their bytes: times
    the rank of their priority among all (1 for the lowest), and ALONE times where no other replica of their model stays."""

    left_out: tuple[UnplacedBytes, ...]
    disturbance: int
    moved_bytes: int
    moved: int

    @property
    def key(self) -> tuple[tuple[int, ...], int]:
        """What two placements of the same are compared by; the smaller one is better."""
        return tuple(level.bytes for level in self.left_out), self.disturbance

    @property
    def left_out_bytes(self) -> int:
        return sum(level.bytes for level in self.left_out)


def objective_of(placement: Placement, desired: Desired, applied: Applied, lacking: Sequence[MissingReplicas] | None = None) -> Objective:
    """The objective of a finished placement. `lacking` is what of it counts as left out; None: all that has no place."""
    ranks = ranks_of(desired)
    out = {priority: [0, 0] for priority in sorted(ranks, reverse=True)}
    for entry in placement.lacking if lacking is None else lacking:
        if entry.model.ensure is Ensure.LOADED:
            level = out[entry.model.priority]
            level[0] += entry.count * replica_bytes(placement.board, entry.model, applied)
            level[1] += entry.count
    disturbance = moved_bytes = moved = 0
    for model, leaving, stays in moves_of(placement):
        size = sum(map(_bytes, leaving))
        moved_bytes += size
        moved += len(leaving)
        disturbance += size * ranks[model.priority] * (1 if stays else ALONE)
    return Objective(tuple(UnplacedBytes(priority, *level) for priority, level in out.items()), disturbance, moved_bytes, moved)


def ranks_of(desired: Desired) -> Mapping[int, int]:
    """The priorities of what is wanted loaded, each with its rank from 1 for the lowest: what counts of them, whatever numbers they are."""
    every = sorted({model.priority for model in desired.wanted if model.ensure is Ensure.LOADED})
    return {priority: rank for rank, priority in enumerate(every, 1)}


def replica_bytes(board: Occupancy, model: ModelSpec, applied: Applied) -> int:
    """What one replica counts where it has no place: as declared, else the most that it needs on the engines of its nodes, of a model with
    variants the best one; at least 1, so that leaving out what nobody can size still counts."""
    first = model.alternatives()[0]
    slots = [] if first.vram is not None else [slot for node in model.nodes for slot in board.by_node.get(node, ())]
    return max(1, most_needed(slots, first, applied))


def moves_of(placement: Placement) -> Iterable[tuple[ModelSpec, Sequence[Occupant], bool]]:
    """The models of which residents leave though they are wanted: which, the smallest ones first, and whether another one stays."""
    gone = placement.displaced | placement.released
    there = {(target.model.name, target.slot) for target in placement.targets}
    leaving: dict[str, list[Occupant]] = defaultdict(list)
    models: dict[str, ModelSpec] = {}
    for found in placement.unwanted:
        if found not in gone:
            continue
        for model in (found.model, *found.also):
            if model is not None and model.ensure is Ensure.LOADED and (model.name, found.slot) not in there:
                models[model.name] = model
                leaving[model.name].append(found)
                break
    if not leaving:
        return
    wanted = Counter(target.model.name for target in placement.targets)
    for lacking in placement.lacking:
        wanted[lacking.model.name] += lacking.count
    stay = Counter(target.model.name for target in placement.targets if target.found is not None and target.model.name in leaving)
    for name, some in sorted(leaving.items()):
        moved = sorted(some, key=lambda found: (_bytes(found), found.slot.id))[: max(0, wanted[name] - stay[name])]
        if moved:
            yield models[name], moved, stay[name] > 0


def _bytes(found: Occupant) -> int:
    """What a resident holds: one that may be on any of several cards is charged to all of them, a split one to each for its part."""
    if found.model is not None and found.model.is_split:
        return total(found.charges)
    return largest(found.charges) or 0
