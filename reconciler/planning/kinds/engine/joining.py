"""The steps about engines and those about models as one plan: what waits for what."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import replace

from reconciler.fleet import EngineId
from reconciler.planning.kinds.engine.kind import EngineStep
from reconciler.planning.kinds.engine.starting import BEGINS
from reconciler.planning.kinds.model.step import ModelStep
from reconciler.planning.plan import Action, Step
from reconciler.value_class import value_class

_GIVEN_AT_START = (Action.LOAD, Action.RELOAD, Action.UPDATE)
_NEED_ROOM = (Action.CREATE, Action.LOAD, Action.RELOAD)


@value_class
class Joined:
    """All steps, in an order that respects needs. `gone` are the addresses of replicas that leave with their engine, without a step of
    their own."""

    steps: tuple[Step, ...]
    gone: tuple[str, ...] = ()


def joined(engines: Sequence[Step], models: Sequence[Step], with_one_model: Set[EngineId] = frozenset()) -> Joined:
    """Models wait for the engine that they are on, and what leaves an engine that is replaced leaves it before.

    What a server `with_one_model` loads or gives up is done by its own start, replacement or end: that step waits for what the load or the
    unload waited for, the model waits for it, and so does all that waited for the unload. An engine that left the files ends first: its
    node may need its port and its memory.
    """
    own = {EngineId(step.node, step.engine): step for step in engines if isinstance(step, EngineStep) and step.action is not Action.ADOPT}
    if not own:
        return Joined((*engines, *models))
    needs: dict[str, set[str]] = {step.id: set(step.needs) for step in (*engines, *models)}
    for at, ends in own.items():
        if ends.action is Action.REMOVE and at not in with_one_model:
            for step in (*engines, *models):
                if step.node == at.node and step.action in _NEED_ROOM:
                    needs[step.id].add(ends.id)
    instead: dict[str, str] = {}
    kept: list[Step] = []
    gone: list[str] = []
    for step in models:
        change = own.get(step.at) if isinstance(step, ModelStep) else None
        if not isinstance(step, ModelStep) or change is None:
            kept.append(step)
        elif step.at not in with_one_model:
            if step.action is Action.UNLOAD:
                needs[change.id].add(step.id)
            elif change.action in BEGINS:
                needs[step.id].add(change.id)
            kept.append(step)
        elif step.action is Action.UNLOAD:
            needs[change.id] |= needs.pop(step.id)
            instead[step.id] = change.id
            gone.append(step.address)
        else:
            kept.append(_awaited(step))
            needs[change.id] |= needs.pop(step.id)
            instead[step.id] = kept[-1].id
            needs[kept[-1].id] = {change.id}
    ids = {step.id for step in (*engines, *kept)}
    together = [
        replace(step, needs=tuple(sorted({instead.get(need, need) for need in needs[step.id]} & (ids - {step.id}))))
        for step in (*engines, *kept)
    ]
    return Joined(_in_order(together, {step.id for step in own.values()}), tuple(sorted(gone)))


def waits_for_models(engines: Iterable[Step], models: Sequence[Step], kept: Mapping[EngineId, ModelStep]) -> tuple[Step, ...]:
    """`models` with a wait for the model of each server that is started anew with the one it has."""
    stepped = {step.at for step in models if isinstance(step, ModelStep) and step.action is not Action.UNLOAD}
    begun = [EngineId(step.node, step.engine) for step in engines if isinstance(step, EngineStep) and step.action in BEGINS]
    return (*models, *(kept[at] for at in begun if at in kept and at not in stepped))


def _awaited(step: ModelStep) -> ModelStep:
    """A load that its engine's start does."""
    if step.action not in _GIVEN_AT_START:
        return step
    return replace(step, id=f"{Action.WAIT.value}:{step.address}", action=Action.WAIT)


def _in_order(steps: Sequence[Step], engines: Set[str]) -> tuple[Step, ...]:
    """The steps in an order that respects their needs, as they stand where that is possible. Of a circle, which two servers that swap their
    models make, an engine's step goes first: its model is away until the other one has it."""
    left = {step.id: step for step in steps}
    found: list[Step] = []
    while left:
        ready = [step for step in left.values() if not any(need in left for need in step.needs)]
        if not ready:
            cut = next((step for step in left.values() if step.id in engines), next(iter(left.values())))
            left[cut.id] = replace(cut, needs=tuple(need for need in cut.needs if need not in left))
            continue
        for step in ready:
            found.append(step)
            del left[step.id]
    return tuple(found)
