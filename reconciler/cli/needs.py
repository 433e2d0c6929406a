"""The needs of models in a fleet: which engines could hold one (`check MODEL`), and what is known of each (`models`)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from reconciler.cli.looking import print_warnings, probing_line
from reconciler.cli.settings import Settings

if TYPE_CHECKING:
    from reconciler.fleet import Applied, Desired, FleetFacts, ModelSpec
    from reconciler.workspace import Workspace


def look_at(settings: Settings, refresh: str, assume: Path | None) -> tuple[Workspace, FleetFacts, Applied]:
    """The workspace with facts, probed or recorded or assumed, and the state."""
    from reconciler.cli.session import Choice, take_look

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


def check_model(settings: Settings, name: str, context: int | None, refresh: str, assume: Path | None, format_: str) -> None:
    """Prints which engines and cards could hold the model `name`, wanted or not, as the fleet stands."""
    from reconciler.fleet import ModelSpec
    from reconciler.placement import candidates
    from reconciler.views import candidates_json, candidates_text

    workspace, facts, applied = look_at(settings, refresh, assume)
    wanted = wanted_model(workspace.desired, name)
    model = wanted or ModelSpec(name, tuple(sorted(workspace.fleet.nodes)))
    if context is not None:
        model = replace(model, context=context)
    found = candidates(workspace.fleet, workspace.desired, facts, applied, model, workspace.catalogue)
    if format_ == "json":
        click.echo(candidates_json(model, found, wanted is not None), nl=False)
    else:
        click.echo(candidates_text(model, found, wanted is not None, colour=settings.colour(), width=settings.width()), nl=False)
