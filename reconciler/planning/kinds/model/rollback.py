"""What was applied at an earlier serial, expressed as desired state."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from operator import attrgetter

from reconciler.fleet import (
    AppliedReplica,
    ContextVia,
    Desired,
    EngineId,
    EngineKind,
    Ensure,
    Fleet,
    ModelSpec,
    Residency,
    context_tag,
)


def desired_of(rows: Iterable[AppliedReplica], fleet: Fleet, files: Desired) -> tuple[Desired, tuple[str, ...]]:
    """The rows as models: as many replicas on the nodes where they were, with the context, options, keep-alive and residency of then.
    Where no context was asked for, the one that ran is what one goes back to.

    What rows do not tell (priorities, needs, requirements, pinned weights, limits, policies) is that of the files of now. Also answers the
    addresses whose engine the inventory lacks now: they cannot come back.
    """
    kinds = {engine.id: engine.kind for node in fleet.nodes.values() for engine in node.engines}
    known = {model.name: model for model in files.models}
    by_model: dict[str, list[AppliedReplica]] = defaultdict(list)
    lost: list[str] = []
    for row in rows:
        if row.at in kinds:
            by_model[row.model].append(row)
        else:
            lost.append(row.address)
    models = tuple(_model(known.get(name), members, kinds) for name, members in sorted(by_model.items()))
    return replace(files, models=models), tuple(sorted(lost))


def _model(now: ModelSpec | None, rows: list[AppliedReplica], kinds: dict[EngineId, EngineKind]) -> ModelSpec:
    last = max(rows, key=attrgetter("serial", "address"))
    names: dict[EngineKind, str] = {}
    bases: set[tuple[EngineKind, str]] = set()
    via: ContextVia = now.context_via if now is not None and now.context_via is not ContextVia.TAG else ContextVia.REQUEST
    for row in rows:
        kind = kinds[row.at]
        base = row.engine_name
        if kind is EngineKind.OLLAMA and row.context is not None and base.endswith(f"-c{row.context}"):
            stem = base.removesuffix(f"-c{row.context}")
            if context_tag(stem, row.context) == base:
                base, via = stem, ContextVia.TAG
        names[kind] = base
        bases.add((kind, base))
    nodes = tuple(sorted({row.at.node for row in rows}))
    residency = Residency(last.residency)
    spec = now if now is not None else ModelSpec(last.model, nodes, min_gpu_fraction=1.0 if residency is Residency.GPU else 0.0)
    spec = replace(
        spec,
        nodes=nodes,
        on=",".join(nodes),
        engine=next(iter(names)) if len(names) == 1 else None,
        names={},
        ensure=Ensure(last.ensure),
        replicas=len(rows),
        each=None,
        context=last.context,
        own_context=_own_context(now, rows, kinds) if last.context is None else None,
        context_via=via if last.context is not None else ContextVia.TAG,
        options=dict(last.options),
        keep_alive=last.keep_alive,
        residency=residency,
        protect=last.protect if now is None else now.protect,
    )
    if spec.variants:
        then = tuple(one.variant for one in spec.alternatives() if any(one.base_name(kind) == base for kind, base in bases))
        kept = tuple(one for one in spec.variants if one.name in then)
        spec = replace(spec, variants=kept)
        if kept:
            return spec
    own = {kind: name for kind, name in names.items() if spec.base_name(kind) != name}
    return replace(spec, names=own) if own else spec


def _own_context(now: ModelSpec | None, rows: Iterable[AppliedReplica], kinds: dict[EngineId, EngineKind]) -> int | None:
    """The context that all of them ran with, where a load can bring it back; None where that is not known, or differs."""
    if now is not None and now.context_via is ContextVia.ENGINE:
        return None
    seen = {row.observed_context if kinds[row.at] is EngineKind.OLLAMA else None for row in rows}
    return seen.pop() if len(seen) == 1 else None
