"""What the engines that a plan starts mean for the models: they stand on the board before they run, so that one plan does both."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from reconciler.fleet import (
    Applied,
    EngineFacts,
    EngineId,
    EngineSpec,
    Fleet,
    FleetFacts,
)
from reconciler.planning.containers import COPIES, HEALTHY, NAME
from reconciler.planning.kinds.engine.kind import EngineStep
from reconciler.planning.kinds.model.step import ModelStep
from reconciler.planning.plan import Action, Step

_VERSION = re.compile(r"v?([0-9]+(?:\.[0-9]+){1,3})(?:[-+].*)?")
_CHANGES = (Action.CREATE, Action.UPDATE, Action.WAIT)


@dataclass(frozen=True, slots=True)
class Starting:
    """`facts` are those of the fleet with every engine that the plan starts as it will be right after; `restarted` are the engines that run
    now with what they hold, and will hold nothing once they were replaced."""

    facts: FleetFacts
    restarted: frozenset[EngineId] = frozenset()


def starting(fleet: Fleet, facts: FleetFacts, steps: Sequence[Step], applied: Applied, recorded: FleetFacts | None) -> Starting:
    """The facts to plan models with, given the steps about engines."""
    specs = {engine.id: engine for node in fleet.nodes.values() for engine in node.engines if engine.owned is not None}
    begins: dict[EngineId, EngineFacts] = {}
    restarted: set[EngineId] = set()
    for step in steps:
        if not isinstance(step, EngineStep) or step.action not in _CHANGES:
            continue
        at = EngineId(step.node, step.engine)
        now = facts.engine(at)
        if now is not None and now.reachable:
            restarted |= {at} if _restarts(step) else set()
        elif step.action is not Action.WAIT or step.address not in applied.resources:
            begins[at] = _as_started(specs[at], recorded.engine(at) if recorded is not None else None)
    if not begins:
        return Starting(facts, frozenset(restarted))
    nodes = dict(facts.nodes)
    for at, engine in begins.items():
        if at.node in nodes:
            nodes[at.node] = replace(nodes[at.node], engines={**nodes[at.node].engines, at.engine: engine})
    return Starting(FleetFacts(facts.at, nodes), frozenset(restarted))


def _restarts(step: EngineStep) -> bool:
    """Whether an engine that runs is started anew: all but its name needs that."""
    changed = {name for name, value in step.after.items() if step.before.get(name) is not None and step.before[name] != value}
    return step.action is Action.UPDATE and not changed <= {NAME, COPIES, HEALTHY}


def _as_started(engine: EngineSpec, before: EngineFacts | None) -> EngineFacts:
    """An engine right after its start: nothing is loaded; on its disk is what was there when it was last seen, which nobody deleted."""
    known = before is not None and before.reachable
    installed = before.installed if before is not None and known else ()
    build = before.build if before is not None and known else _version_of(engine)
    most = before.max_residents if before is not None and known else None
    mode = before.mode if before is not None and known else None
    return EngineFacts(engine.id, engine.kind, True, build=build, mode=mode, max_residents=most, installed=installed, residents=())


def _version_of(engine: EngineSpec) -> str | None:
    """The version that the tag of its image names, where it names one."""
    image = getattr(engine.owned.start, "image", "") if engine.owned is not None else ""
    found = _VERSION.fullmatch(image.partition("@")[0].rpartition(":")[2])
    return found.group(1) if found is not None else None


def joined(engines: Sequence[Step], models: Sequence[Step]) -> tuple[Step, ...]:
    """The steps about engines before those about models, each of which waits for its own: but what leaves an engine that is replaced leaves
    it before."""
    by_engine = {EngineId(step.node, step.engine): step for step in engines if isinstance(step, EngineStep) and step.action in _CHANGES}
    if not by_engine:
        return (*engines, *models)
    leaving = [one for one in models if isinstance(one, ModelStep) and one.action is Action.UNLOAD and one.at in by_engine]
    first = _with_needs({step.id for step in leaving}, models)
    waits: list[Step] = []
    early: list[Step] = []
    for step in models:
        if step.id in first:
            early.append(step)
        elif isinstance(step, ModelStep) and (change := by_engine.get(step.at)) is not None:
            waits.append(replace(step, needs=tuple(sorted({*step.needs, change.id}))))
        else:
            waits.append(step)
    gone: Mapping[EngineId, set[str]] = {at: {one.id for one in leaving if one.at == at} for at in by_engine}
    middle = [
        replace(step, needs=tuple(sorted({*step.needs, *gone.get(EngineId(step.node, step.engine), ())})))
        if isinstance(step, EngineStep) and gone.get(EngineId(step.node, step.engine))
        else step
        for step in engines
    ]
    return (*early, *middle, *waits)


def _with_needs(ids: set[str], steps: Sequence[Step]) -> set[str]:
    """These steps and all that they need, directly or not; `steps` are in an order that respects needs."""
    found = set(ids)
    for step in reversed(steps):
        if step.id in found:
            found.update(step.needs)
    return found
