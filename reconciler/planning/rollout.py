"""`max_unavailable` and `update: canary`: which replica of a model is changed after which.

A *turn* is what takes a replica away until it is there again: a reload, an unload with the load that waits for it, one that moves with the
next load of its model where neither waits for the other (another model holds the new place), or the start anew of an engine with the load
after it. A load that takes nothing away is a turn too, of which only a canary asks.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence

from reconciler.fleet import EngineId, ModelSpec
from reconciler.planning.edges import Edge
from reconciler.planning.kinds.engine import restarts
from reconciler.planning.kinds.engine.kind import EngineStep
from reconciler.planning.kinds.model.step import ModelStep
from reconciler.planning.ordering import MOVES
from reconciler.planning.plan import Action, Step
from reconciler.value_class import value_class

_BRINGS = (Action.LOAD, Action.RELOAD, Action.WAIT)


@value_class
class _Turn:
    """`begins` and `ends` are ids of steps, in the order of the plan; `away`: the replica is gone in between."""

    begins: str
    ends: str
    away: bool


def rollout_edges(steps: Sequence[Step], models: Iterable[ModelSpec]) -> Iterator[Edge]:
    """What waits for what within each model, so that no more of its replicas are away at once than may be, and its canary comes first.
    `steps` each stand after all that they need. A turn waits for one that stands before it in the plan, else softly."""
    number = {step.id: place for place, step in enumerate(steps)}
    turns, leaving = _turns(steps)
    for model in models:
        mine = sorted(turns.get(model.name, ()), key=lambda turn: number[turn.begins])
        if model.rollout.canary and mine:
            first = min(mine, key=lambda turn: (turn.away, number[turn.ends]))
            after = [turn.begins for turn in mine if turn is not first] + [one for one in leaving[model.name] if one != first.begins]
            yield from (Edge(one, first.ends, soft=number[one] < number[first.ends]) for one in after)
        away = [turn for turn in mine if turn.away]
        for before, turn in zip(away, away[model.rollout.max_unavailable :], strict=False):
            yield Edge(turn.begins, before.ends, soft=number[turn.begins] < number[before.ends])


def _turns(steps: Sequence[Step]) -> tuple[Mapping[str, Sequence[_Turn]], Mapping[str, Sequence[str]]]:
    """The turns of each model, and its unloads."""
    starts = {EngineId(step.node, step.engine): step.id for step in steps if isinstance(step, EngineStep) and restarts(step)}
    unloads = {step.id: step for step in steps if isinstance(step, ModelStep) and step.action is Action.UNLOAD}
    whose = {step.id: step.model for step in steps if isinstance(step, ModelStep) and step.action in (Action.LOAD, Action.UNLOAD)}
    pairs = [(step.id, need) for step in steps for need in step.needs if step.id in whose and whose[step.id] == whose.get(need)]
    tied = {one for pair in pairs for one in pair}
    moving: dict[str, deque[str]] = defaultdict(deque)
    turns: dict[str, list[_Turn]] = defaultdict(list)
    leaving: dict[str, list[str]] = defaultdict(list)
    for unload in unloads.values():
        leaving[unload.model].append(unload.id)
    for step in steps:
        if step.id in unloads and step.id not in tied and step.reason.code in MOVES:
            moving[whose[step.id]].append(step.id)
        if not isinstance(step, ModelStep) or step.action not in _BRINGS:
            continue
        start = starts.get(step.at)
        stopped = [one for need in step.needs if (one := unloads.get(need)) is not None and one.model == step.model]
        if start is not None:
            turns[step.model].append(_Turn(start, step.id, True))
        elif step.action is Action.RELOAD:
            turns[step.model].append(_Turn(step.id, step.id, True))
        elif stopped:
            turns[step.model].append(_Turn(stopped[0].id, step.id, True))
        elif step.action is Action.LOAD and step.id not in tied and moving[step.model]:
            turns[step.model].append(_Turn(moving[step.model].popleft(), step.id, True))
        elif step.action is Action.LOAD:
            turns[step.model].append(_Turn(step.id, step.id, False))
    return turns, leaving
