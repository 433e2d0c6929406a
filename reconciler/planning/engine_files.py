"""Files that are one engine's own: there before it starts, and read by it before anything is fetched or loaded there."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace

from reconciler.fleet import EngineId
from reconciler.planning.edges import Edge
from reconciler.planning.kinds.engine.kind import EngineStep
from reconciler.planning.kinds.file import FILES
from reconciler.planning.kinds.file.kind import FileStep, reload_address
from reconciler.planning.kinds.file.spec import destinations
from reconciler.planning.kinds.model.step import ModelStep
from reconciler.planning.plan import Action, Step, Unplaced
from reconciler.planning.resource import AfterPlan

_STARTS = frozenset((Action.CREATE, Action.UPDATE))
_READS = frozenset((Action.PULL, Action.TAG, Action.LOAD, Action.RELOAD, Action.WAIT, Action.UPDATE))


def with_file_hints(unplaced: Sequence[Unplaced], steps: Sequence[Step], after: AfterPlan) -> tuple[Unplaced, ...]:
    """What is without a place since an engine does not have it, where the plan writes that engine's own file and it names the model: the
    engine has it once it has read the file, so the apply after this one finds a place."""
    written = {step.address: step for step in steps if isinstance(step, FileStep) and step.content is not None}
    if not written or not FILES.of(after.desired):
        return tuple(unplaced)
    own: dict[str, list[FileStep]] = defaultdict(list)
    for one in destinations(after.desired, after.fleet, after.facts):
        if one.engine is not None and one.address in written:
            own[str(one.engine)].append(written[one.address])
    kinds = {str(engine.id): engine.kind for node in after.fleet.nodes.values() for engine in node.engines}
    models = {model.name: model for model in after.desired.wanted}

    def hinted(one: Unplaced) -> Unplaced:
        for candidate in one.candidates if one.agent is None and one.model in models else ():
            for file in own.get(candidate.engine, ()) if candidate.reason == "not_installed" else ():
                if json.dumps(models[one.model].engine_name(kinds[candidate.engine])) in (file.content or ""):
                    hint = f"{candidate.engine} has read {file.path}, which this plan writes: apply once more after it"
                    return replace(one, would_fit_if=(hint,))
        return one

    return tuple(map(hinted, unplaced))


def engine_file_edges(steps: Sequence[Step], after: AfterPlan) -> Iterator[Edge]:
    """An engine that starts waits for its own files, the command that makes it read them waits for its start, and what changes its models
    waits for both. Such a command may be for other files too that wait for models: of a ring it is left out."""
    written = {step.address: step for step in steps if isinstance(step, FileStep) and step.content is not None}
    if not written or not FILES.of(after.desired):
        return
    by_address = {step.address: step for step in steps}
    own: dict[EngineId, list[tuple[str, str | None]]] = defaultdict(list)
    for one in destinations(after.desired, after.fleet, after.facts):
        if one.engine is None or one.address not in written:
            continue
        reloading = by_address.get(reload_address(one.spec.reload, one.node)) if one.spec.reload else None
        own[one.engine].append((written[one.address].id, reloading.id if reloading is not None else None))
    for step in steps:
        starts = isinstance(step, EngineStep) and step.action in _STARTS
        if not starts and not (isinstance(step, ModelStep) and step.action in _READS):
            continue
        for file, reload in own.get(EngineId(step.node, step.engine), ()) if isinstance(step, EngineStep | ModelStep) else ():
            yield Edge(step.id, file)
            if reload is not None:
                yield Edge(reload, step.id, soft=True) if starts else Edge(step.id, reload, soft=True)
