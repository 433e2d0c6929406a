"""The end of a run: every engine that was touched is looked at once more, and the state learns what is really there."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace

from reconciler.execution.kinds.model.actor import ModelRun
from reconciler.execution.kinds.model.recording import addresses_to_forget, rows_as_found
from reconciler.execution.kinds.model.waits import EngineWatch
from reconciler.execution.lookup import find_resident
from reconciler.execution.outcome import LostResident, StepResult
from reconciler.fleet import EngineFacts, EngineId, FleetFacts, Unreachable, parse_replica_address, replica_address, with_last_known
from reconciler.planning import Action, model_steps
from reconciler.planning.kinds.model.step import MODEL
from reconciler.planning.plan import kind_of
from reconciler.state import StepStatus

_EVICTED = "a load of this run or another client evicted it"
_SUCCEEDED = frozenset({StepStatus.DONE, StepStatus.SATISFIED})


async def look_again(models: ModelRun, facts: FleetFacts) -> FleetFacts:
    """`facts` with every touched engine seen anew; one that cannot be seen now is unreachable in them."""
    names: dict[EngineId, set[str]] = defaultdict(set)
    for address, engine_name in models.plan.placed.items():
        _, at = parse_replica_address(address)
        if at in models.touched:
            names[at].add(engine_name)
    at_once = asyncio.Semaphore(models.options.parallelism)

    async def look(at: EngineId) -> EngineFacts:
        async with at_once:
            watch = EngineWatch(models.engines(at), frozenset(names[at]), models.options, models.run.clock, models.run.sleep)
            try:
                return await watch.look_until_seen()
            except Unreachable as error:
                return EngineFacts(at, models.places.engines[at].kind, False, str(error), error.code)

    touched = sorted(models.touched)
    seen = dict(zip(touched, await asyncio.gather(*map(look, touched)), strict=True))
    nodes = dict(facts.nodes)
    for at, engine in seen.items():
        if at.node in nodes:
            nodes[at.node] = replace(nodes[at.node], engines={**nodes[at.node].engines, at.engine: engine})
    return FleetFacts(facts.at, nodes)


def settle_state(models: ModelRun, facts: FleetFacts, results: Mapping[str, StepResult]) -> list[StepResult]:
    """Records what is there, forgets what is gone; returns the steps that must be called otherwise than they seemed: what was adopted and
    is not there as wanted, what was brought there and did not stay."""
    stepped: dict[str, bool] = {}
    for result in results.values():
        if result.action is not Action.UNLOAD:
            stepped[result.address] = stepped.get(result.address, True) and result.status in _SUCCEEDED
    engines = {at: facts.engine(at) for at in models.places.engines}
    rows = list(rows_as_found(models.plan, models.places, engines, models.run.state.applied(), stepped))
    models.run.state.record(rows, addresses_to_forget(models.plan, models.unloaded))
    if others := [address for address in models.plan.forgotten if kind_of(address) != MODEL]:
        models.run.state.record_resources((), others)
    for one in models.plan.incidents:  # the facts that are recorded now no longer tell of them
        models.run.state.record_incident(one.address, one.code, one.asked, at=one.at, evictor=one.evictor)
    models.run.state.record_heat(models.levels.note(facts))
    state = models.run.state
    state.record_facts(with_last_known(facts, state.recorded_facts, models.places.nodes, models.touched))
    there = {row.address for row in rows}
    return [
        changed
        for result in results.values()
        if kind_of(result.address) == MODEL
        and result.status in _SUCCEEDED
        and result.address not in there
        and (changed := _otherwise(models, result, facts)) is not None
    ]


def _otherwise(models: ModelRun, result: StepResult, facts: FleetFacts) -> StepResult | None:
    if result.action is Action.ADOPT:
        message = "it is not there as wanted any more, so it was not adopted"
        return replace(result, status=StepStatus.SKIPPED, code="changed_since_plan", message=message)
    if result.action not in (Action.LOAD, Action.RELOAD, Action.UPDATE, Action.WAIT) or result.address not in models.plan.placed:
        return None
    _, at = parse_replica_address(result.address)
    engine = facts.engine(at)
    if engine is None or not engine.reachable:
        return None
    message = "it was resident as wanted, and at the end of the run it is not; another load or another client took it away"
    return replace(result, status=StepStatus.FAILED, code="did_not_stay", message=message)


def find_lost(models: ModelRun, before: FleetFacts, after: FleetFacts) -> list[LostResident]:
    """What was resident on a touched engine, had no step, and is gone: an engine that evicts for a load of ours says nothing about it.

    A resident that nobody here asked for counts where it was pinned; one with a finite keep-alive may have gone by itself.
    """
    had_step = {step.address for step in models.plan.steps} | models.unloaded
    lost: list[LostResident] = []
    accounted: dict[EngineId, set[str]] = defaultdict(set)
    for step in model_steps(models.plan.steps):
        replaced = step.before.get("name")
        names = (step.engine_name, step.base_name, *((replaced,) if isinstance(replaced, str) else ()))
        accounted[step.at].update(names)
    for address, engine_name in models.plan.placed.items():
        _, at = parse_replica_address(address)
        old, new = before.engine(at), after.engine(at)
        if at not in models.touched or old is None or new is None or not new.reachable or new.residents is None:
            continue
        was = find_resident(old, engine_name)
        if was is None:
            continue
        accounted[at].add(was.name)
        if address not in had_step and find_resident(new, engine_name) is None:
            lost.append(LostResident(address, f"was resident before this run and is not any more; {_EVICTED}", True))
    for at in sorted(models.touched):
        old, new = before.engine(at), after.engine(at)
        if old is None or new is None or not new.reachable or new.residents is None:
            continue
        now = {resident.name for resident in new.residents}
        for resident in old.residents or ():
            if resident.pinned and resident.name not in now and resident.name not in accounted[at]:
                lost.append(
                    LostResident(
                        replica_address(resident.name, at), f"nobody here asked for it, it was pinned, and it is gone; {_EVICTED}", False
                    )
                )
    return lost
