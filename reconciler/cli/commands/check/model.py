"""The needs of models in a fleet: which engines could hold one (`check MODEL`), and what is known of each (`models`)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from reconciler.cli.commands.check.run_options import Way
from reconciler.cli.options import print_warnings, probing_line
from reconciler.cli.settings import Settings

if TYPE_CHECKING:
    from reconciler.fleet import Applied, Desired, FleetFacts, ModelSpec
    from reconciler.placement import Search
    from reconciler.workspace import Workspace


def look_at(settings: Settings, refresh: str, assume: Path | None) -> tuple[Workspace, FleetFacts, Applied]:
    """The workspace with facts, probed or recorded or assumed, and the state."""
    from reconciler.operations.observation import Choice, take_look

    with probing_line(settings) as on_node:
        look = take_look(settings, Choice(None, None, refresh, assume), on_node=on_node)
    print_warnings(settings, look.workspace.warnings)
    return look.workspace, look.facts, look.applied


def wanted_model(desired: Desired, name: str) -> ModelSpec | None:
    """The wanted model of just this name, else the one that an Ollama knows by it (`llama3.1` is `llama3.1:latest`)."""
    from reconciler.fleet import EngineKind, canonical_name

    kind = EngineKind.OLLAMA
    exact = (one for one in desired.models if one.name == name)
    same = (one for one in desired.models if one.engine in (None, kind) and canonical_name(kind, one.name) == canonical_name(kind, name))
    return next(exact, None) or next(same, None)


def check_model(
    settings: Settings, name: str, way: Way, refresh: str, assume: Path | None, format_: str, search: Search | None = None
) -> None:
    """Prints which engines and cards could hold the model `name`, wanted or not, as the fleet stands, and what it takes there by term; with
    `search`, by the largest way to run it that fits.

    GpurecError: nobody knows a model of that name, or llama.cpp would refuse to run it so.
    """
    from reconciler.placement import Question, candidates
    from reconciler.views import candidates_json, candidates_text

    asked = way.asked()
    workspace, facts, applied, model = look_for(settings, name, refresh, assume)
    wanted = model in workspace.desired.models
    question = Question(model, way.context, asked, search)
    found = candidates(workspace.fleet, workspace.desired, facts, applied, question, workspace.catalogue)
    if format_ == "json":
        click.echo(candidates_json(question, found, wanted), nl=False)
    else:
        click.echo(candidates_text(question, found, wanted, colour=settings.colour(), width=settings.width()), nl=False)


def look_for(settings: Settings, name: str, refresh: str, assume: Path | None) -> tuple[Workspace, FleetFacts, Applied, ModelSpec]:
    """The workspace with facts and the state, and the model called so: the wanted one, else one that may go to every node.

    Engines are asked about it in detail also where nobody wants it. GpurecError: it is wanted, installed or listed nowhere.
    """
    from reconciler.fleet import ModelSpec
    from reconciler.operations.observation import Choice, facts_with
    from reconciler.operations.workspace import open_workspace

    workspace = open_workspace(settings)
    wanted = wanted_model(workspace.desired, name)
    model = wanted or ModelSpec(name, tuple(sorted(workspace.fleet.nodes)))
    with probing_line(settings) as on_node:
        facts, applied = facts_with(settings, workspace, Choice(None, None, refresh, assume), () if wanted else (model,), on_node)
    print_warnings(settings, workspace.warnings)
    if wanted is None:
        _refuse_unknown(model, workspace, facts)
    return workspace, facts, applied, model


def _refuse_unknown(model: ModelSpec, workspace: Workspace, facts: FleetFacts) -> None:
    """Refuses a name that is installed on no engine and listed nowhere, with the nearest that is known."""
    from difflib import get_close_matches

    from reconciler.fleet import EngineKind, GpurecError

    names = {kind: model.base_name(kind) for kind in EngineKind}
    known = {one.name for one in workspace.desired.models} | {one.name for one in workspace.catalogue.models.values()}
    silent = 0
    for node in facts.nodes.values():
        for engine in node.engines.values():
            silent += not engine.reachable
            there = {one.name for one in engine.installed or ()} | {one.name for one in engine.residents or ()}
            if names[engine.kind] in there:
                return
            known |= there
    if any(workspace.catalogue.model(kind, model.name) is not None for kind in EngineKind):
        return
    short = {one.removesuffix(":latest"): one for one in sorted(known)}
    near = get_close_matches(model.name, short, 3, 0.5) or get_close_matches(model.name.split(":")[0], short, 3, 0.5)
    hint = f"did you mean {' or '.join(short[one] for one in near)}?" if near else "gpurec models lists what is wanted; or give a FILE.gguf"
    more = f" ({silent} of them did not answer)" if silent else ""
    raise GpurecError.of(f"nobody knows a model {model.name!r}: it is not wanted, on no engine{more}, and not in the catalogue", None, hint)
