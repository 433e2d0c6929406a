"""What models need on the fleet: which engines could hold one, and what is known of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from difflib import get_close_matches

from reconciler.fleet import Applied, Desired, EngineId, EngineKind, FleetFacts, GpurecError, ModelSpec, canonical_name
from reconciler.operations.observation import Observation, PlanOptions, look
from reconciler.operations.reporter import Reporter, ignore
from reconciler.operations.settings import WorkspaceSettings
from reconciler.operations.workspace import load
from reconciler.placement import ContextSearch, EngineAnswer, ModelNeeds, Question, candidates, model_needs
from reconciler.planning import unused_tags
from reconciler.planning.kinds.engine import starting, with_started
from reconciler.value_class import value_class
from reconciler.vram import Asked
from reconciler.workspace import Workspace


@value_class
class ModelAnswer:
    """Which engines and cards could hold the model of the question as the fleet stands; `facts` and `applied` say how that is. `wanted`:
    the desired state asks for it."""

    question: Question
    candidates: Sequence[EngineAnswer]
    wanted: bool
    facts: FleetFacts
    applied: Applied


@value_class
class FleetNeeds:
    """What is known of every wanted model, and the derived tags on each engine that nothing uses any more; of `facts`."""

    models: Sequence[ModelNeeds]
    unused_tags: Mapping[EngineId, Sequence[str]]
    facts: FleetFacts


async def find_candidates(
    settings: WorkspaceSettings,
    name: str,
    options: PlanOptions,
    asked: Asked,
    context: int | None = None,
    search: ContextSearch | None = None,
    report: Reporter = ignore,
) -> ModelAnswer:
    """Where the model `name`, wanted or not, could go, run as `asked` with `context` tokens a request; with `search`, by the largest way to
    run it that fits. Engines are asked about it in detail also where nothing asks for it.

    Raises GpurecError where the model is wanted, installed and listed nowhere, or llama.cpp would refuse to run it so.
    """
    workspace = await load(settings, report)
    wanted = wanted_model(workspace.desired, name)
    model = wanted or ModelSpec(name, tuple(sorted(workspace.fleet.nodes)))
    seen = await look(settings, options, report, workspace=workspace, also=() if wanted else (model,))
    return candidates_in(seen, name, asked, context, search)


def candidates_in(
    seen: Observation, name: str, asked: Asked, context: int | None = None, search: ContextSearch | None = None
) -> ModelAnswer:
    """The same of what was seen already. Raises as `find_candidates` does."""
    workspace = seen.workspace
    wanted = wanted_model(workspace.desired, name)
    model = wanted or ModelSpec(name, tuple(sorted(workspace.fleet.nodes)))
    if wanted is None:
        _refuse_unknown(model, workspace, seen.facts)
    question = Question(model, context, asked, search)
    started = starting(workspace.fleet, seen.facts, (), seen.applied, seen.recorded, seen.resources).facts
    found = candidates(workspace.fleet, workspace.desired, with_started(seen.facts, started), seen.applied, question, workspace.catalogue)
    return ModelAnswer(question, found, wanted is not None, seen.facts, seen.applied)


async def find_needs(settings: WorkspaceSettings, options: PlanOptions, report: Reporter = ignore) -> FleetNeeds:
    """What every wanted model needs on each kind of engine, and where each figure is from."""
    seen = await look(settings, options, report)
    space = seen.workspace
    with closing(seen.state.reader()) as state:
        unused = unused_tags(space.fleet, space.desired, seen.facts, replace(seen.applied, tags=state.tags()))
    return FleetNeeds(model_needs(space.fleet, space.desired, seen.facts, seen.applied, space.catalogue), unused, seen.facts)


def wanted_model(desired: Desired, name: str) -> ModelSpec | None:
    """The wanted model of just this name, else the one that an Ollama knows by it (`llama3.1` is `llama3.1:latest`)."""
    kind = EngineKind.OLLAMA
    exact = (one for one in desired.models if one.name == name)
    same = (one for one in desired.models if one.engine in (None, kind) and canonical_name(kind, one.name) == canonical_name(kind, name))
    return next(exact, None) or next(same, None)


def _refuse_unknown(model: ModelSpec, workspace: Workspace, facts: FleetFacts) -> None:
    """Refuses a name that is installed on no engine and listed nowhere, with the nearest that is known."""
    names = {kind: model.base_name(kind) for kind in EngineKind}
    known = {one.name for one in workspace.desired.models} | {one.name for one in workspace.catalogue.models.values()}
    silent = 0
    for node in facts.nodes.values():
        for engine in node.engines.values():
            silent += engine.silent
            there = {one.name for one in engine.installed or ()} | {one.name for one in engine.residents or ()}
            if names[engine.kind] in there:
                return
            known |= there
    if any(workspace.catalogue.model(kind, model.name) is not None for kind in EngineKind):
        return
    short = {one.removesuffix(":latest"): one for one in sorted(known)}
    near = get_close_matches(model.name, short, 3, 0.5) or get_close_matches(model.name.split(":")[0], short, 3, 0.5)
    listed = "gpurec models lists what is wanted; gpurec check FILE.gguf asks of a file"
    hint = f"did you mean {' or '.join(short[one] for one in near)}?" if near else listed
    more = f" ({silent} of them did not answer)" if silent else ""
    raise GpurecError.of(f"nobody knows a model {model.name!r}: it is not wanted, on no engine{more}, and not in the catalogue", None, hint)
