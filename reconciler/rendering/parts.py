"""The things that templates see, one by one. What a field is, is said beside it, and the docs are made of that."""

from __future__ import annotations

from collections.abc import Mapping

from reconciler.rendering.secret import Secret
from reconciler.rendering.shapes import says
from reconciler.value_class import value_class


@value_class
class GpuValue:
    """A card, as probed, else as declared."""

    node: str = says("its node's name")
    index: int | str = says("as the driver counts, or a name such as `amd0`")
    name: str | None = says("as its driver calls it")
    uuid: str | None = says("")
    vram_bytes: int | None = says("its size")
    vram_gib: int | None = says("its size, rounded to GiB")
    compute_capability: str | None = says("as `8.6`")
    driver: str | None = says("version of the driver")
    float16: bool | None = says("whether it computes with half precision")
    bfloat16: bool | None = says("")


@value_class
class EngineValue:
    """An engine."""

    node: str = says("its node's name")
    name: str = says("")
    kind: str = says("`ollama`, `llamacpp`, `vllm`, `llamaswap`, `openai`, `service`")
    url: str = says("without `/` at its end")
    host: str = says("host of the url, an IPv6 address in brackets")
    address: str | None = says("the same as an IP address, the node's where the url has its name; none where only a name is known")
    port: int = says("port of the url")
    gpus: tuple[GpuValue, ...] = says("its cards")
    memory_limit: int | None = says("bytes that it may place on each card")
    max_concurrent_requests: int | None = says("as declared")
    auth: str | None = says("where its key is: `env:NAME` or `file:PATH`")
    key: Secret | None = says("its key, to be printed whole")
    env: Mapping[str, str] = says("variables of its process, as far as the inventory says them")


@value_class
class NodeValue:
    """A node."""

    name: str = says("")
    address: str = says("")
    labels: Mapping[str, str] = says("as `node.labels.zone`")
    ram_bytes: int | None = says("")
    engines: tuple[EngineValue, ...] = says("those on it")
    gpus: tuple[GpuValue, ...] = says("those of it")
    settings: SettingsValue = says("with its own `limits`; in a file with another `per` than `fleet`, `settings` are these")


@value_class
class ModelValue:
    """A wanted model."""

    name: str = says("")
    ensure: str = says("`loaded` or `present`")
    engine: str | None = says("the kind of engine that it is for; none: any")
    nodes: tuple[str, ...] = says("those that it may be on")
    names: Mapping[str, str] = says("what requests ask an engine of each kind for, as `model.names.ollama`")
    priority: int = says("higher first")
    context: int | None = says("none: the engine's own")
    aliases: tuple[str, ...] = says("further names that gateways answer to")
    fallback: tuple[str, ...] = says("models that stand in for it, the first first")


@value_class
class ReplicaValue:
    """A replica, where it will be."""

    model: str = says("its model's name")
    node: str = says("its node's name")
    engine: str = says("its engine's name")
    kind: str = says("the engine's")
    url: str = says("the engine's")
    name: str = says("what requests ask that engine for: a derived tag perhaps")


@value_class
class AgentValue:
    """An agent that is asked for."""

    name: str = says("")
    type: str | None = says("")
    model: str | None = says("the name of its model")


@value_class
class SettingsValue:
    """What holds for the whole fleet; of `limits`, what all nodes agree on, else what the desired state says."""

    strategy: str = says("`placement.strategy`")
    max_vram_utilization: float = says("0 to 1")
    vram_safety_margin: float | None = says("0 to 1")
    reserve_bytes: int = says("of each card that stay free")
    max_agents_per_gpu: int | None = says("")
    thermal_warning: float | None = says("°C, `policy.thermal`")
    thermal_critical: float | None = says("°C")
    memory_high: float | None = says("0 to 1, `policy.memory_pressure`")
    memory_critical: float | None = says("0 to 1")
    breaker_failures: int = says("`policy.breaker`, else what it is where it is on")
    breaker_reset: float = says("seconds")
    health_timeout: float = says("seconds, `policy.health.timeout`")
    price_per_unit: int | None = says("wei, `policy.service.livepeer`")
    ticket_ev: int | None = says("wei, worth of a ticket on an average")
    max_face_value: int | None = says("wei, 0 is no cap")
