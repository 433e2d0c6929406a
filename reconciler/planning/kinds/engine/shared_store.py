"""Engines of a node that keep their models in one place: one fetches a model, the others find it there. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from reconciler.fleet import EngineContainer, EngineId, EngineKind, EngineSpec, Fleet, MountKind
from reconciler.planning.edges import Edge
from reconciler.planning.kinds.model.step import ModelStep
from reconciler.planning.plan import Action, Step


def one_pull_at_a_time(fleet: Fleet, steps: Sequence[Step]) -> Iterator[Edge]:
    """A pull waits for that of the same model by another engine that writes to the same store: the model is there then."""
    stores: dict[EngineId, tuple[str, ...]] = {
        engine.id: tuple(_stores(engine)) for node in fleet.nodes.values() for engine in node.engines if engine.owned is not None
    }
    last: dict[tuple[str, str, str], str] = {}
    for step in steps:
        if not isinstance(step, ModelStep) or step.action is not Action.PULL:
            continue
        for store in stores.get(step.at, ()):
            key = (step.node, store, step.model)
            if key in last:
                yield Edge(step.id, last[key], soft=True)
            last[key] = step.id


def _stores(engine: EngineSpec) -> Iterator[str]:
    """What an engine writes its models to: the volumes of its container, or the folder of an Ollama that systemd starts."""
    owned = engine.owned
    if owned is None:
        return
    if isinstance(owned.start, EngineContainer):
        for mount in owned.start.volumes:
            if not mount.read_only and mount.kind is not MountKind.TMPFS:
                yield mount.source
    elif engine.kind is EngineKind.OLLAMA:
        yield f"{owned.start.scope}:{owned.env.get('OLLAMA_MODELS', '')}"
