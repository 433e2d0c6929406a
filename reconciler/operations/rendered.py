"""Render: the files of a fleet as text, without writing any of them where it belongs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from reconciler.fleet import EngineFacts, FleetFacts, NodeFacts, WorkspaceError, replica_address
from reconciler.operations.observation import PROBE_ALL, PlanOptions
from reconciler.operations.proposal import plan_fleet
from reconciler.operations.reporter import Reporter, ignore
from reconciler.operations.settings import WorkspaceSettings
from reconciler.operations.workspace import load
from reconciler.planning.kinds.engine import OwnedEngineKind
from reconciler.planning.kinds.file import FileKind
from reconciler.planning.resource import AfterPlan
from reconciler.probes.declared import declared_cards
from reconciler.value_class import value_class
from reconciler.workspace import Workspace


@value_class
class RenderedFile:
    """A file that `files:` asks for: its node (`local`: this machine), its path there, its permissions, its text."""

    node: str
    path: str
    mode: int
    text: str


async def render_fleet(settings: WorkspaceSettings, options: PlanOptions = PROBE_ALL, report: Reporter = ignore) -> Sequence[RenderedFile]:
    """Every file as it will be after a plan made now. Raises GpurecError, with file and line of what cannot be rendered."""
    made = await plan_fleet(settings, options, report)
    space = made.workspace
    plan = made.plan
    after = AfterPlan(space.fleet, space.desired, made.facts, plan.placed, made.applied, plan.steps, containers=plan.containers)
    return _rendered(after)


async def render_as_declared(settings: WorkspaceSettings, report: Reporter = ignore) -> Sequence[RenderedFile]:
    """The same by what the files say alone, and no node is asked."""
    return rendered_as_declared(await load(settings, report))


def rendered_as_declared(space: Workspace) -> Sequence[RenderedFile]:
    """Every file by what the inventory says of cards, with each model on the first engines that may have it: whether they render, not
    what they will say."""
    nodes = {
        name: NodeFacts(name, declared_cards(node), node.ram, {one.id.engine: EngineFacts(one.id, one.kind, False) for one in node.engines})
        for name, node in space.fleet.nodes.items()
    }
    after = AfterPlan(space.fleet, space.desired, FleetFacts("1970-01-01T00:00:00Z", nodes), _anywhere(space))
    containers = tuple((one.node, one.container) for one in OwnedEngineKind().wanted(after) if one.container is not None)
    return _rendered(replace(after, containers=containers))


def _anywhere(space: Workspace) -> Mapping[str, str]:
    """Each wanted model on as many engines as are asked for, the first that are of its kind."""
    placed: dict[str, str] = {}
    for model in space.desired.wanted:
        engines = [
            engine
            for name in model.nodes
            for engine in space.fleet.nodes[name].engines
            if model.engine is None or model.engine is engine.kind
        ]
        for engine in engines if model.each is not None else engines[: model.replicas or 0]:
            placed[replica_address(model.name, engine.id)] = model.engine_name(engine.kind)
    return placed


def _rendered(after: AfterPlan) -> Sequence[RenderedFile]:
    return [RenderedFile(one.node, one.path, int(str(one.fields["mode"]), 8), one.text) for one in FileKind().wanted(after)]


def check_renders(space: Workspace) -> None:
    """Raises WorkspaceError where a file cannot be rendered for the declared fleet."""
    from reconciler.rendering import RenderingError

    try:
        rendered_as_declared(space)
    except RenderingError as error:
        raise WorkspaceError(*error.problems) from None
