"""What the engines that a plan starts mean for the models: they stand on the board before they run, so that one plan does both."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import field, replace

from reconciler.fleet import (
    NOT_STARTED,
    STARTED_WITH_MODEL,
    Applied,
    ContainerState,
    EngineFacts,
    EngineId,
    EngineKind,
    EngineSpec,
    Fleet,
    FleetFacts,
    ResourceFacts,
    resource_address,
)
from reconciler.planning.containers import COPIES, HEALTHY, NAME
from reconciler.planning.kinds.engine.fields import START_SECONDS
from reconciler.planning.kinds.engine.kind import ENGINE, EngineStep
from reconciler.planning.kinds.engine.single import takes_one_model
from reconciler.planning.kinds.model.step import ModelStep
from reconciler.planning.plan import Action, Step
from reconciler.value_class import value_class

_VERSION = re.compile(r"v?([0-9]+(?:\.[0-9]+){1,3})(?:[-+].*)?")
BEGINS = (Action.CREATE, Action.UPDATE, Action.WAIT)
"""What is done about an engine that is there afterwards."""


@value_class
class Starting:
    """`facts` are those of the fleet with every engine that the plan starts as it will be right after; `restarted` are the engines that run
    now with what they hold, and will hold nothing once they were replaced, with the
    seconds that the last start of each took (None: nobody measured one)."""

    facts: FleetFacts
    restarted: Mapping[EngineId, float | None] = field(default_factory=dict)


def starting(
    fleet: Fleet,
    facts: FleetFacts,
    steps: Sequence[Step],
    applied: Applied,
    recorded: FleetFacts | None,
    resources: Mapping[str, ResourceFacts],
) -> Starting:
    """The facts to plan models with, given the steps about engines; servers with one model get theirs only by that, so each of them that
    runs, or may be started, counts as one that takes any."""
    specs = {engine.id: engine for node in fleet.nodes.values() for engine in node.engines if engine.owned is not None}
    begins: dict[EngineId, EngineFacts] = {}
    restarted: dict[EngineId, float | None] = {}
    for step in steps:
        at = EngineId(step.node, step.engine) if isinstance(step, EngineStep) and step.action in BEGINS else None
        if at is None or at not in specs or takes_one_model(specs[at]):
            continue
        now = facts.engine(at)
        if now is not None and now.reachable:
            restarted |= {at: _start_seconds(applied, step.address)} if restarts(step) else {}
        elif step.action is not Action.WAIT or step.address not in applied.resources:
            begins[at] = _as_started(specs[at], recorded.engine(at) if recorded is not None else None)
    for at, engine in specs.items():
        if takes_one_model(engine):
            address = resource_address(ENGINE, at.engine, at.node)
            begun = _with_one_model(engine, facts.engine(at), resources.get(address), address in applied.resources)
            begins |= {at: begun} if begun is not None else {}
    if not begins:
        return Starting(facts, restarted)
    nodes = dict(facts.nodes)
    for at, begun in begins.items():
        if at.node in nodes:
            nodes[at.node] = replace(nodes[at.node], engines={**nodes[at.node].engines, at.engine: begun})
    return Starting(FleetFacts(facts.at, nodes), restarted)


def away_with_their_server(
    steps: Sequence[Step], kept: Mapping[EngineId, ModelStep], applied: Applied
) -> Mapping[str, Sequence[float | None]]:
    """How long the model of each server with one is away that is replaced and keeps it, by the address of the model and the last start of
    the server; not at all where the new one answers before the old one ends."""
    away: dict[str, Sequence[float | None]] = {}
    for step in steps:
        model = kept.get(EngineId(step.node, step.engine)) if isinstance(step, EngineStep) and restarts(step) else None
        if isinstance(step, EngineStep) and model is not None and model.address in applied.replicas:
            away[model.address] = () if step.starts_beside else (_start_seconds(applied, step.address),)
    return away


def _start_seconds(applied: Applied, address: str) -> float | None:
    row = applied.resources.get(address)
    seconds = row.fields.get(START_SECONDS) if row is not None else None
    return float(seconds) if isinstance(seconds, (int, float)) else None


def restarts(step: Step) -> bool:
    """Whether an engine that runs is started anew: all but its name needs that."""
    changed = {name for name, value in step.after.items() if step.before.get(name) is not None and step.before[name] != value}
    return step.action is Action.UPDATE and not changed <= {NAME, COPIES, HEALTHY}


def _as_started(engine: EngineSpec, before: EngineFacts | None) -> EngineFacts:
    """An engine right after its start: nothing is loaded; on its disk is what was there when it was last seen, which nobody deleted. Of one
    that was never seen, and that fetches nothing itself, it is known only once it runs: its files are believed to be there."""
    known = before is not None and (before.reachable or before.installed is not None)
    if not known and engine.kind is not EngineKind.OLLAMA:
        return EngineFacts(engine.id, engine.kind, True, build=_version_of(engine), mode=NOT_STARTED, installed=None, residents=())
    installed = before.installed if before is not None and known else ()
    build = before.build if before is not None and known else _version_of(engine)
    most = before.max_residents if before is not None and known else None
    mode = before.mode if before is not None and known else None
    return EngineFacts(engine.id, engine.kind, True, build=build, mode=mode, max_residents=most, installed=installed, residents=())


def _with_one_model(engine: EngineSpec, now: EngineFacts | None, found: ResourceFacts | None, applied: bool) -> EngineFacts | None:
    """A server with one model as placement sees it; None where it is as unknown as it looks."""
    if found is None or found.exists is None or (found.exists is False and found.reason is not None):
        return None
    if now is not None and now.reachable:
        own = tuple(one for one in now.residents or () if not any(word.startswith("parent=") for word in one.options or ()))
        return replace(now, mode=STARTED_WITH_MODEL, max_residents=1, installed=None, residents=own if now.residents is not None else None)
    if found.exists and applied and _runs(found, resource_address(ENGINE, engine.id.engine, engine.id.node)):
        return None
    build = _version_of(engine)
    return EngineFacts(engine.id, engine.kind, True, build=build, mode=STARTED_WITH_MODEL, max_residents=1, residents=())


def _runs(found: ResourceFacts, address: str) -> bool:
    return found.there is None or any(one.state is ContainerState.RUNNING for one in found.there.of(address))


def _version_of(engine: EngineSpec) -> str | None:
    """The version that the tag of its image names, where it names one."""
    image = getattr(engine.owned.start, "image", "") if engine.owned is not None else ""
    found = _VERSION.fullmatch(image.partition("@")[0].rpartition(":")[2])
    return found.group(1) if found is not None else None
