"""What templates see: the fleet as it will be after the plan, as sorted lists of plain objects."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from ipaddress import ip_address
from urllib.parse import urlsplit

from reconciler.fleet import (
    AGENTS,
    DEFAULT_LIMITS,
    Breaker,
    ContainerSpec,
    Desired,
    EngineKind,
    EngineSpec,
    Fleet,
    FleetFacts,
    Limits,
    MemoryPressure,
    NodeSpec,
    Thermal,
    parse_replica_address,
)
from reconciler.rendering.containers import ContainerValue, containers_of
from reconciler.rendering.parts import AgentValue, EngineValue, GpuValue, ModelValue, NodeValue, ReplicaValue, SettingsValue
from reconciler.rendering.routes import RouteValue, routes_of
from reconciler.rendering.secret import Secret
from reconciler.rendering.shapes import says
from reconciler.value_class import value_class


@value_class
class TemplateValues:
    """All that a template may speak of, beside its own `vars`."""

    fleet: str = says("the fleet's name")
    nodes: tuple[NodeValue, ...] = says("")
    engines: tuple[EngineValue, ...] = says("of all nodes")
    gpus: tuple[GpuValue, ...] = says("of all nodes")
    models: tuple[ModelValue, ...] = says("those that are to be on some engine")
    replicas: tuple[ReplicaValue, ...] = says("")
    routes: tuple[RouteValue, ...] = says("who serves which model: what gateways are made of")
    agents: tuple[AgentValue, ...] = says("")
    containers: tuple[ContainerValue, ...] = says("those of engines and agents that gpurec owns")
    settings: SettingsValue = says("")

    def named(self, **more: object) -> Mapping[str, object]:
        """By name, with `more` of one file."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__} | more


FROM_PLACEMENT = frozenset({"replicas", "routes", "containers"})
"""Values that depend on what the plan brings: a file that speaks of them is written after it is there."""


def values_of(
    fleet: Fleet, desired: Desired, facts: FleetFacts, placed: Mapping[str, str], containers: Iterable[tuple[str, ContainerSpec]] = ()
) -> TemplateValues:
    """The values after a plan. `placed` has the address of every replica that has a place, with its name on the engine."""
    nodes = tuple(_node(node, facts, desired) for _, node in sorted(fleet.nodes.items()))
    engines = {(engine.node, engine.name): engine for node in nodes for engine in node.engines}
    replicas = []
    for address, name in placed.items():
        model, at = parse_replica_address(address)
        engine = engines.get((at.node, at.engine))
        if engine is not None:
            replicas.append(ReplicaValue(model, at.node, at.engine, engine.kind, engine.url, name))
    models = tuple(
        ModelValue(
            name=one.name,
            ensure=one.ensure.value,
            engine=one.engine.value if one.engine is not None else None,
            nodes=tuple(sorted(one.nodes)),
            names={kind.value: one.engine_name(kind) for kind in EngineKind if kind is not EngineKind.SERVICE},
            priority=one.priority,
            context=one.context,
            aliases=one.aliases,
            fallback=one.fallback,
        )
        for one in sorted(desired.wanted, key=lambda one: one.name)
    )
    ordered = tuple(sorted(replicas, key=lambda one: (one.model, one.node, one.engine)))
    return TemplateValues(
        fleet=fleet.name,
        nodes=nodes,
        engines=tuple(engine for node in nodes for engine in node.engines),
        gpus=tuple(gpu for node in nodes for gpu in node.gpus),
        models=models,
        replicas=ordered,
        routes=routes_of(models, ordered, engines),
        agents=tuple(AgentValue(one.name, one.type, one.model) for one in sorted(AGENTS.of(desired), key=lambda one: one.name)),
        containers=containers_of(containers),
        settings=_settings(desired, [node.limits for node in fleet.nodes.values() if node.gpus != ()]),
    )


def _node(node: NodeSpec, facts: FleetFacts, desired: Desired) -> NodeValue:
    seen = facts.nodes.get(node.name)
    cards = sorted((seen.cards if seen is not None else None) or (), key=lambda card: str(card.index).zfill(8))
    gpus = tuple(
        GpuValue(
            node=node.name,
            index=card.index,
            name=card.name,
            uuid=card.uuid,
            vram_bytes=card.total_bytes,
            vram_gib=None if card.total_bytes is None else round(card.total_bytes / 2**30),
            compute_capability=_dotted(card.compute_capability),
            driver=_dotted(card.driver),
            float16=card.float16,
            bfloat16=card.bfloat16,
        )
        for card in cards
    )
    engines = tuple(_engine(node, one, gpus) for one in sorted(node.engines, key=lambda engine: engine.id.engine))
    ram = seen.ram_bytes if seen is not None and seen.ram_bytes is not None else node.ram
    labels = dict(sorted(node.labels.items()))
    return NodeValue(node.name, node.address, labels, ram, engines, gpus, _settings(desired, [node.limits]))


def _engine(node: NodeSpec, one: EngineSpec, gpus: tuple[GpuValue, ...]) -> EngineValue:
    parts = urlsplit(one.url)
    host = parts.hostname or node.address
    plain = _as_address(host) or (_as_address(node.address) if host == node.name else None)
    mine = gpus if one.gpus is None else tuple(gpu for gpu in gpus if gpu.index in one.gpus or gpu.uuid in one.gpus)
    return EngineValue(
        node=node.name,
        name=one.id.engine,
        kind=one.kind.value,
        url=one.url,
        host=f"[{host}]" if ":" in host else host,
        address=f"[{plain}]" if plain is not None and ":" in plain else plain,
        port=parts.port or (443 if parts.scheme == "https" else 80),
        gpus=mine,
        memory_limit=one.memory_limit,
        max_concurrent_requests=one.max_concurrent_requests,
        auth=str(one.bearer) if one.bearer is not None else None,
        key=Secret(str(one.bearer)) if one.bearer is not None else None,
        env=dict(sorted(one.env.items())),
    )


def _as_address(host: str) -> str | None:
    """The host as an IP address; None where it is a name of which only a resolver knows it."""
    try:
        return str(ip_address("127.0.0.1" if host == "localhost" else host))
    except ValueError:
        return None


def _settings(desired: Desired, of_nodes: Sequence[Limits]) -> SettingsValue:
    """`of_nodes` are the limits of the nodes that they are for: where these differ the wider ones count."""
    wider, policy = desired.limits.over(DEFAULT_LIMITS), desired.policy
    every = {one.over(wider) for one in of_nodes}
    limits = every.pop() if len(every) == 1 else wider
    thermal, pressure, breaker = policy.thermal or Thermal(), policy.memory_pressure or MemoryPressure(), policy.breaker or Breaker()
    paid = policy.service.livepeer
    return SettingsValue(
        strategy=desired.strategy.value,
        max_vram_utilization=float(limits.max_vram_utilization or 1),
        vram_safety_margin=_ratio(limits.vram_safety_margin),
        reserve_bytes=limits.reserve or 0,
        max_agents_per_gpu=limits.max_agents_per_gpu,
        thermal_warning=thermal.warning,
        thermal_critical=thermal.critical,
        memory_high=_ratio(pressure.high),
        memory_critical=_ratio(pressure.critical),
        breaker_failures=breaker.failures,
        breaker_reset=breaker.reset,
        health_timeout=policy.health.timeout or 5.0,
        price_per_unit=None if paid is None else paid.price_per_unit,
        ticket_ev=None if paid is None else paid.ticket_ev,
        max_face_value=None if paid is None else paid.max_face_value,
    )


def _ratio(value: Fraction | float | None) -> float | None:
    return None if value is None else float(value)


def _dotted(version: tuple[int, ...] | None) -> str | None:
    return None if version is None else ".".join(map(str, version))
