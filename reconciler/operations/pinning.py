"""Pin: which weights each name stands for today."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path

from reconciler.fleet import EngineId, GpurecError, Problem
from reconciler.operations.observation import every_engine, probe
from reconciler.operations.reporter import Reporter, ignore
from reconciler.operations.settings import WorkspaceSettings
from reconciler.operations.workspace import load, state_of
from reconciler.planning import find_pins
from reconciler.value_class import value_class
from reconciler.workspace.problems import did_you_mean

MOST_DIFFERING = 20


@value_class
class Pinned:
    """`digests` by model are what the lock file `path` is to hold, `before` what it holds; `models` counts those of the desired state.
    Of `untold` models no engine tells the weights; what `unreachable` engines have is not compared."""

    path: Path
    models: int
    digests: Mapping[str, str]
    before: Mapping[str, str]
    untold: Sequence[str]
    unreachable: Sequence[EngineId]


async def find_weights(settings: WorkspaceSettings, models: Sequence[str] = (), report: Reporter = ignore) -> Pinned:
    """Asks the engines for the weights of `models`, or of all of the desired state. Writes nothing.

    Raises GpurecError for a model that is not in the desired state, and where two engines have other weights of one model.
    """
    workspace = await load(settings, report)
    known = {model.name: model for model in workspace.desired.models}
    for name in models:
        if name not in known:
            raise GpurecError.of(f"the desired state has no model {name!r}", None, did_you_mean(name, known))
    with closing(state_of(settings, workspace).reader()) as state:
        applied = state.applied()
    fleet = await every_engine(workspace.fleet, report)
    pins = find_pins(fleet, workspace.desired, await probe(fleet, workspace.desired, applied, report), models)
    if pins.differing:
        raise GpurecError(
            *(
                Problem(
                    f"{one.model} is {one.first_digest} on {one.first} and {one.second_digest} on {one.second}",
                    None,
                    "pull the same weights on both, then pin again",
                )
                for one in pins.differing[:MOST_DIFFERING]
            )
        )
    kept = {name: digest for name, digest in workspace.lock.items() if name in known and name not in pins.digests}
    own = {name for name, model in known.items() if model.digest is not None and model.digest != workspace.lock.get(name)}
    digests = {name: digest for name, digest in {**kept, **pins.digests}.items() if name not in own}
    return Pinned(workspace.lock_path, len(known), digests, workspace.lock, pins.untold, pins.unreachable)
