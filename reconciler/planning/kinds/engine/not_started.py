"""Engines that do not answer since nobody started them: gpurec owns them, and its state and their daemon have nothing of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from reconciler.fleet import NOT_STARTED, Applied, EngineFacts, EngineSpec, Fleet, FleetFacts, ResourceFacts, resource_address
from reconciler.planning.kinds.engine.kind import ENGINE
from reconciler.planning.kinds.engine.single import takes_one_model

WITH_A_MODEL = "is not started: gpurec starts it with the model that has its place there"
BY_APPLY = "is not started yet: gpurec apply starts it"


def with_not_started(fleet: Fleet, facts: FleetFacts, resources: Mapping[str, ResourceFacts], applied: Applied) -> FleetFacts:
    """The facts where such engines say so instead of what refused the connection. One that was started and is gone stays unreachable."""
    nodes = dict(facts.nodes)
    for node in fleet.nodes.values():
        for engine in node.engines:
            now = facts.engine(engine.id)
            if now is not None and not now.reachable and _never_started(engine, resources, applied):
                nodes[node.name] = replace(nodes[node.name], engines={**nodes[node.name].engines, engine.id.engine: _as_such(engine, now)})
    return replace(facts, nodes=nodes)


def with_started(facts: FleetFacts, started: FleetFacts) -> FleetFacts:
    """The facts with every engine that is not started as it is `started`, for questions about what it could hold."""
    nodes = dict(facts.nodes)
    for name, node in facts.nodes.items():
        later = started.nodes[name].engines
        nodes[name] = replace(
            node, engines={key: later[key] if one.reason_code == NOT_STARTED else one for key, one in node.engines.items()}
        )
    return replace(facts, nodes=nodes)


def _never_started(engine: EngineSpec, resources: Mapping[str, ResourceFacts], applied: Applied) -> bool:
    address = resource_address(ENGINE, engine.id.engine, engine.id.node)
    found = resources.get(address)
    return engine.owned is not None and address not in applied.resources and found is not None and found.exists is False


def _as_such(engine: EngineSpec, now: EngineFacts) -> EngineFacts:
    return replace(now, reason=WITH_A_MODEL if takes_one_model(engine) else BY_APPLY, reason_code=NOT_STARTED)
