"""Who serves which model: one value, from which every gateway's configuration is made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from reconciler.rendering.parts import EngineValue, ModelValue, ReplicaValue
from reconciler.rendering.secret import Secret
from reconciler.rendering.shapes import says
from reconciler.value_class import value_class


@value_class
class TargetValue:
    """An engine that serves a model."""

    node: str = says("its node's name")
    engine: str = says("its name")
    kind: str = says("its kind")
    url: str = says("")
    host: str = says("host of the url, an IPv6 address in brackets")
    address: str | None = says("the same as an IP address; none where only a name is known")
    port: int = says("port of the url")
    name: str = says("what requests ask it for: a derived tag perhaps")
    weight: int = says(
        "its share among the targets: `max_concurrent_requests` where each of them declares it, else GiB of its largest card; 1 without one"
    )
    max_concurrent_requests: int | None = says("as declared")
    auth: str | None = says("where its key is: `env:NAME` or `file:PATH`")
    key: Secret | None = says("its key, to be printed whole")


@value_class
class RouteValue:
    """A model that is served, with all that gateways need to know of it."""

    model: str = says("its name")
    names: tuple[str, ...] = says("its name and its `aliases`")
    targets: tuple[TargetValue, ...] = says("the engines that serve it, at least one")
    fallback: tuple[str, ...] = says("those of its `fallback` models that are served")


def routes_of(
    models: Sequence[ModelValue], replicas: Sequence[ReplicaValue], engines: Mapping[tuple[str, str], EngineValue]
) -> tuple[RouteValue, ...]:
    """The routes in the order of `models`; one that nobody serves has none."""
    serving: dict[str, list[ReplicaValue]] = {}
    for one in replicas:
        serving.setdefault(one.model, []).append(one)
    return tuple(
        RouteValue(
            model=model.name,
            names=(model.name, *model.aliases),
            targets=_targets(serving[model.name], engines),
            fallback=tuple(name for name in model.fallback if name in serving),
        )
        for model in models
        if model.name in serving
    )


def _targets(replicas: Sequence[ReplicaValue], engines: Mapping[tuple[str, str], EngineValue]) -> tuple[TargetValue, ...]:
    at = [engines[one.node, one.engine] for one in replicas]
    declared = all(engine.max_concurrent_requests for engine in at)
    return tuple(
        TargetValue(
            node=one.node,
            engine=one.engine,
            kind=engine.kind,
            url=engine.url,
            host=engine.host,
            address=engine.address,
            port=engine.port,
            name=one.name,
            weight=(engine.max_concurrent_requests or 1) if declared else _gib(engine),
            max_concurrent_requests=engine.max_concurrent_requests,
            auth=engine.auth,
            key=engine.key,
        )
        for one, engine in zip(replicas, at, strict=True)
    )


def _gib(engine: EngineValue) -> int:
    return max(1, round(max((gpu.vram_bytes or 0 for gpu in engine.gpus), default=0) / 2**30))
