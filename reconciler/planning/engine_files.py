"""Files that are one engine's own: there before it starts, and read by it before anything is fetched or loaded there."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from reconciler.fleet import EngineId
from reconciler.planning.edges import Edge
from reconciler.planning.kinds.engine.kind import EngineStep
from reconciler.planning.kinds.file import FILES
from reconciler.planning.kinds.file.kind import FileStep, reload_address
from reconciler.planning.kinds.file.spec import destinations
from reconciler.planning.kinds.model.step import ModelStep
from reconciler.planning.plan import Action, Step
from reconciler.planning.resource import AfterPlan

_STARTS = frozenset((Action.CREATE, Action.UPDATE))
_READS = frozenset((Action.PULL, Action.TAG, Action.LOAD, Action.RELOAD, Action.WAIT, Action.UPDATE))


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
