"""How good a placement is, and what it leaves out: whether no placement has room for that, or none was found."""

from __future__ import annotations

from collections.abc import Sequence, Set

from reconciler.fleet import Applied, Desired, Ensure
from reconciler.placement import (
    Bound,
    EngineRefusal,
    MissingReplicas,
    Objective,
    Placement,
    UnplacedExplanation,
    bound_of,
    explain,
    objective_of,
    replica_bytes,
)
from reconciler.placement.eligibility import NEVER_QUALIFIES
from reconciler.planning.plan import WAITS_FOR_UNREACHABLE, Candidate, Note, PlacementInfo, Unplaced, UnplacedLevel, VariantRefusal
from reconciler.value_class import value_class

WHATEVER_IS_THERE = NEVER_QUALIFIES | {"engine_fixed_model", "not_installed", "runs_elsewhere", "digest_differs", "too_large"}
"""Reasons of an engine that hold whatever else it has."""


@value_class
class Worth:
    """`unplaced` has no place; `waiting` are notes on what may have one as soon as an engine can be asked again."""

    info: PlacementInfo
    unplaced: tuple[Unplaced, ...]
    waiting: tuple[Note, ...]


def worth_of(placement: Placement, desired: Desired, applied: Applied) -> Worth:
    """What a finished placement is worth."""
    every = objective_of(placement, desired, applied)
    bound = bound_of(placement, desired, applied, every)
    if placement.proof is not None:
        bound = bound.raised(placement.proof, every)
    unplaced, lacking, waiting = _without_place(placement, applied, desired, bound, every)
    return Worth(_info(placement, lacking, desired, applied, bound, every), unplaced, waiting)


def _info(
    placement: Placement, lacking: Sequence[MissingReplicas], desired: Desired, applied: Applied, bound: Bound, every: Objective
) -> PlacementInfo:
    """How good the placement is. `lacking` is what counts as left out; what else has no place only waits for an engine."""
    proved, found = bound.proves(every), every
    if len(lacking) < len(placement.lacking):
        found = objective_of(placement, desired, applied, lacking)
        waiting = dict.fromkeys((level.priority for level in found.left_out), 0)
        for model in {entry.model.name: entry.model for entry in placement.lacking if entry not in lacking}.values():
            if model.ensure is Ensure.LOADED:
                count = sum(target.model.name == model.name for target in placement.targets)
                count += sum(entry.count for entry in placement.lacking if entry.model is model)
                waiting[model.priority] += count * replica_bytes(placement.board, model, applied)
        bound = bound.without(waiting)
    whole = found.left_out_bytes
    levels = zip(found.left_out, bound.left_out, strict=True)
    return PlacementInfo(
        strategy=desired.strategy.value,
        solver=desired.solver,
        objective=whole,
        bound=bound.left_out_bytes,
        gap=round((whole - bound.left_out_bytes) / whole, 4) if whole else 0.0,
        proved=proved,
        unplaced=tuple(UnplacedLevel(level.priority, level.bytes, level.count, least) for level, least in levels),
        moved_bytes=found.moved_bytes,
        moved=found.moved,
        moved_bound_bytes=bound.moved_bytes,
        ended=placement.proof.ended.value if placement.proof is not None else None,
    )


def _without_place(
    placement: Placement, applied: Applied, desired: Desired, bound: Bound, every: Objective
) -> tuple[tuple[Unplaced, ...], list[MissingReplicas], tuple[Note, ...]]:
    """What has no place, and what may have one as soon as an engine can be asked again: that is unknown, and only noted."""
    unplaced, told, waiting = [], [], []
    least = frozenset(bound.least_levels(every))
    for lacking in placement.lacking:
        answer = explain(placement, lacking, applied, desired)
        name = lacking.model.name
        if answer.counts.get("unreachable"):
            places = [refused.engine for refused in answer.refused if refused.code == "unreachable"]
            rest = f" or {len(places) - 1} more" if len(places) > 1 else ""
            waits = "replica waits" if lacking.count == 1 else "replicas wait"
            message = f"{lacking.count} {waits} until {places[0] if places else 'an engine'}{rest} can be reached"
            waiting.append(Note(f"model.{name}", WAITS_FOR_UNREACHABLE, message))
            continue
        told.append(lacking)
        unplaced.append(
            Unplaced(
                model=name,
                count=lacking.count,
                needed_bytes=answer.needed_bytes,
                candidates=tuple(_candidate(refused) for refused in answer.refused),
                candidate_counts=answer.counts,
                would_fit_if=answer.would_fit_if,
                best_effort=lacking.model.best_effort,
                proved=_cannot_be_placed(lacking, answer, bound, least),
            )
        )
    return tuple(unplaced), told, tuple(waiting)


def _cannot_be_placed(lacking: MissingReplicas, answer: UnplacedExplanation, bound: Bound, least: Set[int]) -> bool:
    """Whether no placement has room for these replicas: no engine could take them whatever else it held; or there are more of them than
    engines that could; or of their priority nothing less can be left out (`least`)."""
    name, priority = lacking.model.name, lacking.model.priority
    if answer.counts.keys() <= WHATEVER_IS_THERE or bound.never.get(name, 0) >= lacking.count:
        return True
    return bool(answer.needed_bytes) and priority in least


def _candidate(refused: EngineRefusal) -> Candidate:
    variants = tuple(VariantRefusal(one.name, one.reason, one.message) for one in refused.variants)
    return Candidate(refused.engine, refused.code, refused.message, variants)
