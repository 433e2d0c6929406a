"""Small fleets as values, for tests of the core: nodes, facts and desired state in a line each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from reconciler.fleet import (
    NO_LIMITS,
    Applied,
    AppliedReplica,
    CardFacts,
    CardSpec,
    Desired,
    EngineFacts,
    EngineId,
    EngineKind,
    EngineSpec,
    Fleet,
    FleetFacts,
    Installed,
    Limits,
    ModelSpec,
    NodeFacts,
    NodeSpec,
    Resident,
    Strategy,
    replica_address,
)
from reconciler.planning import Plan, make_plan

GIB = 2**30
ALL_OF_IT = Limits(max_vram_utilization=None, reserve=0)
NOW = "2026-01-01T00:00:00Z"


def node(
    name: str,
    *cards: int,
    kind: EngineKind = EngineKind.OLLAMA,
    limits: Limits = NO_LIMITS,
    ram: int | None = None,
    memory_limit: int | None = None,
    labels: Mapping[str, str] | None = None,
    capability: tuple[int, int] | None = (8, 6),
) -> NodeSpec:
    """A node with cards of these sizes (bytes) and one engine named after its kind over all of them."""
    at = EngineId(name, kind.value)
    return NodeSpec(
        name=name,
        address=name,
        engines=(EngineSpec(at, kind, f"http://{name}:1", memory_limit=memory_limit),),
        gpus=tuple(CardSpec(index, vram=size, compute_capability=capability) for index, size in enumerate(cards)),
        ram=ram,
        limits=limits,
        labels=labels or {},
    )


def fleet(*nodes: NodeSpec) -> Fleet:
    return Fleet("test", {each.name: each for each in sorted(nodes, key=lambda each: each.name)})


def facts(
    of: Fleet,
    residents: Mapping[str, Sequence[Resident]] | None = None,
    installed: Sequence[str] = (),
    down: Sequence[str] = (),
    sizes: Mapping[str, int] | None = None,
    blobs: Mapping[str, str] | None = None,
) -> FleetFacts:
    """What probing would see: declared cards, these residents by node, these models installed on every engine."""
    nodes = {}
    for name, spec in of.nodes.items():
        cards = None
        if spec.gpus is not None:
            cards = tuple(CardFacts(c.index, c.uuid, c.name, c.vram, None, c.foreign, c.compute_capability, c.driver) for c in spec.gpus)
        engines = {}
        for engine in spec.engines:
            if name in down:
                engines[engine.id.engine] = EngineFacts(engine.id, engine.kind, False, "connection refused", "refused")
                continue
            known = tuple(Installed(model, (sizes or {}).get(model), blob=(blobs or {}).get(model)) for model in installed)
            engines[engine.id.engine] = EngineFacts(
                engine.id,
                engine.kind,
                True,
                build="0.34.0",
                mode="router" if engine.kind is EngineKind.LLAMACPP else None,
                installed=known,
                residents=tuple((residents or {}).get(name, ())),
            )
        nodes[name] = NodeFacts(name, cards, None, engines)
    return FleetFacts(NOW, nodes)


def loaded(
    name: str, size: int, fraction: float = 1.0, context: int | None = 4096, pinned: bool = True, blob: str | None = None
) -> Resident:
    return Resident(name, size_bytes=size, vram_bytes=int(size * fraction), context=context, pinned=pinned, blob=blob)


def model(name: str, nodes: Sequence[str], vram: int | None = None, **fields: object) -> ModelSpec:
    if "each" in fields:
        fields["replicas"] = None
    return ModelSpec(name=name, nodes=tuple(nodes), on=",".join(nodes), vram=vram, **fields)  # type: ignore[arg-type]


def desired(*models: ModelSpec, limits: Limits = ALL_OF_IT, strategy: Strategy = Strategy.LEAST_LOADED, **fields: object) -> Desired:
    return Desired(models=models, limits=limits, strategy=strategy, **fields)  # type: ignore[arg-type]


def owned(name: str, node_name: str, vram: int | None = None, kind: EngineKind = EngineKind.OLLAMA, **fields: object) -> AppliedReplica:
    at = EngineId(node_name, kind.value)
    defaults: dict[str, object] = {
        "keep_alive": -1.0,
        "observed_gpu_fraction": 1.0,
        "observed_context": 4096,
        "observed_pinned": True,
        "vram_bytes": vram,
    }
    engine_name = str(fields.pop("engine_name", name if ":" in name or kind is not EngineKind.OLLAMA else f"{name}:latest"))
    return AppliedReplica(replica_address(name, at), name, at, engine_name, **{**defaults, **fields})  # type: ignore[arg-type]


def applied(*rows: AppliedReplica) -> Applied:
    return Applied("lineage", 1, {row.address: row for row in rows})


def plan(of: Fleet, want: Desired, seen: FleetFacts, before: Applied | None = None, selected: frozenset[str] | None = None) -> Plan:
    return make_plan(of, want, seen, before or Applied(), config_digest="sha256:c", created_at=NOW, selected=selected)


def actions(of: Plan) -> list[str]:
    return [f"{step.action.value} {step.address}" for step in of.steps]
