"""What templates see: the fleet as it will be after the plan, as sorted lists of plain objects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from reconciler.fleet import Desired, Fleet, FleetFacts, NodeSpec, parse_replica_address


@dataclass(frozen=True, slots=True)
class GpuValue:
    """A card: `gpu.node`, `gpu.index`, `gpu.name`, `gpu.uuid`, `gpu.vram_bytes`; what is not known is none."""

    node: str
    index: int | str
    name: str | None
    uuid: str | None
    vram_bytes: int | None


@dataclass(frozen=True, slots=True)
class EngineValue:
    """An engine: `engine.node`, `engine.name`, `engine.kind`, `engine.url`, `engine.max_concurrent_requests`."""

    node: str
    name: str
    kind: str
    url: str
    max_concurrent_requests: int | None


@dataclass(frozen=True, slots=True)
class NodeValue:
    """A node: `node.name`, `node.address`, `node.labels.ZONE`, with its `node.engines` and `node.gpus`."""

    name: str
    address: str
    labels: Mapping[str, str]
    engines: tuple[EngineValue, ...]
    gpus: tuple[GpuValue, ...]


@dataclass(frozen=True, slots=True)
class ModelValue:
    """A wanted model: `model.name`, `model.priority`, `model.context` (none: the engine's own)."""

    name: str
    priority: int
    context: int | None


@dataclass(frozen=True, slots=True)
class ReplicaValue:
    """A replica as it will be: `replica.model`, `replica.node`, `replica.engine` (its name), `replica.kind`, `replica.url`, and
    `replica.name`, what the engine calls it: a derived tag perhaps."""

    model: str
    node: str
    engine: str
    kind: str
    url: str
    name: str


@dataclass(frozen=True, slots=True)
class TemplateValues:
    """All that a template may speak of, beside its own `vars`. `fleet` is the fleet's name."""

    fleet: str
    nodes: tuple[NodeValue, ...]
    engines: tuple[EngineValue, ...]
    gpus: tuple[GpuValue, ...]
    models: tuple[ModelValue, ...]
    replicas: tuple[ReplicaValue, ...]

    def named(self, **more: object) -> Mapping[str, object]:
        """By name, with `more` of one file."""
        return {
            "fleet": self.fleet,
            "nodes": self.nodes,
            "engines": self.engines,
            "gpus": self.gpus,
            "models": self.models,
            "replicas": self.replicas,
            **more,
        }


FROM_PLACEMENT = frozenset({"replicas"})
"""Values that depend on what the plan brings: a file that speaks of them is written after it is there."""


def values_of(fleet: Fleet, desired: Desired, facts: FleetFacts, placed: Mapping[str, str]) -> TemplateValues:
    """The values after a plan. `placed` has the address of every replica that has a place, with its name on the engine."""
    engines = {engine.id: engine for node in fleet.nodes.values() for engine in node.engines}
    replicas = []
    for address, name in placed.items():
        model, at = parse_replica_address(address)
        spec = engines.get(at)
        if spec is not None:
            replicas.append(ReplicaValue(model, at.node, at.engine, spec.kind.value, spec.url, name))
    nodes = tuple(_node(node, facts) for _, node in sorted(fleet.nodes.items()))
    return TemplateValues(
        fleet=fleet.name,
        nodes=nodes,
        engines=tuple(engine for node in nodes for engine in node.engines),
        gpus=tuple(gpu for node in nodes for gpu in node.gpus),
        models=tuple(ModelValue(one.name, one.priority, one.context) for one in sorted(desired.wanted, key=lambda one: one.name)),
        replicas=tuple(sorted(replicas, key=lambda one: (one.model, one.node, one.engine))),
    )


def _node(node: NodeSpec, facts: FleetFacts) -> NodeValue:
    seen = facts.nodes.get(node.name)
    cards = sorted((seen.cards if seen is not None else None) or (), key=lambda card: str(card.index).zfill(8))
    engines = sorted(node.engines, key=lambda engine: engine.id.engine)
    return NodeValue(
        name=node.name,
        address=node.address,
        labels=dict(sorted(node.labels.items())),
        engines=tuple(EngineValue(node.name, one.id.engine, one.kind.value, one.url, one.max_concurrent_requests) for one in engines),
        gpus=tuple(GpuValue(node.name, card.index, card.name, card.uuid, card.total_bytes) for card in cards),
    )
