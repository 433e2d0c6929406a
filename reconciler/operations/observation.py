"""Look: files, state and fleet as they are now. Changes nothing."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

from reconciler.files import read_bounded_bytes
from reconciler.fleet import (
    LOCAL,
    MIB,
    Activity,
    AllocatedAgent,
    Applied,
    CardFacts,
    Desired,
    EngineId,
    Fleet,
    FleetFacts,
    GpurecError,
    ModelSpec,
    Place,
    Problem,
    ResourceFacts,
    Solver,
    StateError,
    WorkspaceError,
    nodes_with_instances,
    parse_resource_address,
    parse_time,
    same_machines,
    same_servers,
    with_instances,
)
from reconciler.operations import clock
from reconciler.operations.reporter import FileWarning, NodeProbed, ProbingEnded, ProbingStarted, Reporter, ignore
from reconciler.operations.settings import WorkspaceSettings
from reconciler.operations.workspace import load, state_of
from reconciler.planning import wanted_names
from reconciler.planning.kinds.engine import urls_left, with_not_started
from reconciler.planning.resource import AnyKind
from reconciler.probes import as_recorded, facts_from_json, merge_facts
from reconciler.state import Store
from reconciler.value_class import value_class
from reconciler.workspace import Inventory, Workspace, place_of, with_allocated

if TYPE_CHECKING:
    from reconciler.engines import Transport

LARGEST_FACTS = 512 * MIB
MOST_NAMED = 3
"""Nodes that a sentence names."""


@value_class
class PlanOptions:
    """Which facts to take and which nodes to change. Without `refresh` the recorded facts are taken and nothing
    is probed; `assume` is a file of facts to take instead. `again` holds addresses of replicas that are loaded again in any case. `solver`
    looks for places instead of the one that the files name. With `activity` engines are also asked what they tell of their requests. With
    `part` only these nodes are asked, and of the others it is as `elsewhere` has it, which others saw."""

    limit: str | None = None
    exclude: str | None = None
    refresh: bool = True
    assume: Path | None = None
    again: frozenset[str] = frozenset()
    solver: Solver | None = None
    activity: bool = False
    part: frozenset[str] | None = None
    elsewhere: FleetFacts | None = None

    @property
    def probes(self) -> bool:
        return self.assume is None and self.refresh


PROBE_ALL = PlanOptions()


@value_class
class Observation:
    """What was seen. `fresh` says that the facts were probed for it; `recorded` are those of the last apply. `resources` has what was seen
    of resources of `kinds`, those beside models, by address; `activity` what engines tell of requests, by engine and resident.
    `allocated` are the agents of `workspace` that no file asks for."""

    workspace: Workspace
    state: Store
    applied: Applied
    recorded: FleetFacts | None
    facts: FleetFacts
    fresh: bool
    resources: Mapping[str, ResourceFacts]
    kinds: tuple[AnyKind, ...]
    activity: Mapping[tuple[EngineId, str], Activity]
    allocated: tuple[AllocatedAgent, ...]


async def look(
    settings: WorkspaceSettings,
    options: PlanOptions = PROBE_ALL,
    report: Reporter = ignore,
    *,
    workspace: Workspace | None = None,
    also: Sequence[ModelSpec] = (),
) -> Observation:
    """Reads files (unless `workspace` holds them already) and state, and probes the fleet, or takes recorded or assumed facts. Models are
    wanted as their hours have it at the time of the facts.

    Engines are asked in detail about the models of `also`, too. Raises GpurecError for files, a state or facts that cannot be read, and
    where two engines that answered are one server, or two nodes one machine.
    """
    space = workspace or await load(settings, report)
    if options.solver is not None:
        space = replace(space, desired=replace(space.desired, solver=options.solver))
    store = state_of(settings, space)
    with closing(store.reader()) as state:
        applied, recorded = state.applied(), state.recorded_facts()
        space, allocated = with_allocated(space, state.allocated())
        if space.desired.absent:
            applied = replace(applied, tags=state.tags())
    refuse_strange_nodes(applied, space.fleet, store)
    activity: dict[tuple[EngineId, str], Activity] | None = {} if options.activity else None
    known = None if options.probes else _known(settings, options.assume, recorded, space.fleet)
    space = replace(space, fleet=await _all_instances(space.fleet, known, recorded, report, options))
    if known is None:
        wanted = replace(space.desired, models=(*space.desired.models, *also))
        asked = space.fleet.only(options.part) if options.part is not None else space.fleet
        facts = await _probe(asked, wanted_names(asked, wanted, applied), applied, recorded, report, activity)
        if options.elsewhere is not None:
            facts = replace(facts, nodes={**options.elsewhere.nodes, **facts.nodes})
        refuse_shared(space.fleet, facts, space.inventory)
    else:
        facts = known
    if space.desired.hours:
        space = replace(space, desired=space.desired.at(_time_of(facts)))
    resources = await _observe_resources(settings, space, applied, facts, options, store)
    facts = with_not_started(space.fleet, facts, resources, applied)
    kinds = tuple(one.kind for one in settings.types())
    return Observation(space, store, applied, recorded, facts, options.probes, resources, kinds, activity or {}, allocated)


def _time_of(facts: FleetFacts) -> datetime:
    try:
        return parse_time(facts.at)
    except ValueError:
        what = f"the facts are of the time {facts.at[:40]!r}, which is none, and models have hours"
        raise GpurecError.of(what, None, "take facts that gpurec facts --out wrote") from None


def refuse_strange_nodes(applied: Applied, fleet: Fleet, store: Store) -> None:
    """Raises StateError where the state owns something and has no node in common with the inventory: an apply would forget it all. So does
    the state of another fleet of that name, and an inventory program that lists other hosts for once."""
    owned = {address: node for address, node in _nodes_of(applied) if node != LOCAL}
    if not owned or not fleet.nodes.keys().isdisjoint(owned.values()):
        return
    nodes = sorted(set(owned.values()))
    count = "1 resource" if len(owned) == 1 else f"{len(owned):,} resources"
    what = (
        f"this state of the fleet {fleet.name} owns {count} on {_listed(nodes)}, and the inventory has only {_listed(sorted(fleet.nodes))}"
    )
    hint = (
        "name the state of this inventory with --state or GPUREC_STATE, where it is another fleet of that name; for a node that was "
        f"renamed run gpurec state mv {quote(nodes[0])} NEW, and for one that is gone for good gpurec state rm {quote(min(owned))}"
    )
    raise StateError.of(what, str(store), hint)


def _nodes_of(applied: Applied) -> Iterator[tuple[str, str]]:
    for address, row in applied.replicas.items():
        yield address, row.at.node
    for address in applied.resources:
        yield address, parse_resource_address(address)[2]


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:MOST_NAMED])
    return f"{shown} and {len(names) - MOST_NAMED:,} more" if len(names) > MOST_NAMED else shown or "no node"


def refuse_shared(fleet: Fleet, facts: FleetFacts, inventory: Inventory) -> None:
    """Raises WorkspaceError where two engines that answered are one server, or two nodes one machine."""
    at = partial(place_of, inventory)
    if shared := (*same_servers(fleet, at, facts), *same_machines(facts, at)):
        raise WorkspaceError(*shared)


async def _observe_resources(
    settings: WorkspaceSettings, space: Workspace, applied: Applied, facts: FleetFacts, options: PlanOptions, state: Store
) -> Mapping[str, ResourceFacts]:
    from reconciler.execution.resource import ActorContext, Surroundings

    context = ActorContext(settings.directory, space.fleet, settings.poll_seconds, applied)
    around = Surroundings(space.fleet, space.desired, facts, applied, options.probes, state.file, options.part)
    found: dict[str, ResourceFacts] = {}
    for one in settings.types():
        actor = one.actor(context)
        try:
            found.update(await actor.observe(around))
        finally:
            await actor.aclose()
    return found


async def probe_workspace(settings: WorkspaceSettings, report: Reporter = ignore) -> FleetFacts:
    """What probing sees now, with nothing taken from earlier facts. Raises GpurecError for files or a state that cannot be read."""
    space = await load(settings, report)
    store = state_of(settings, space)
    with closing(store.reader()) as state:
        applied = state.applied()
    space = replace(space, fleet=await every_engine(space.fleet, report))
    facts = await probe(space.fleet, space.desired, applied, report)
    owned = {engine.id for node in space.fleet.nodes.values() for engine in node.engines if engine.owned is not None}
    if not any(engine.id in owned for engine in facts.silent):
        return facts
    resources = await _observe_resources(settings, space, applied, facts, PROBE_ALL, store)
    return with_not_started(space.fleet, facts, resources, applied)


async def every_engine(fleet: Fleet, report: Reporter = ignore) -> Fleet:
    """The fleet with the instances of its engines, by the cards that are there now. Raises WorkspaceError where two collide."""
    return await _all_instances(fleet, None, None, report)


async def _all_instances(
    fleet: Fleet, known: FleetFacts | None, recorded: FleetFacts | None, report: Reporter, options: PlanOptions = PROBE_ALL
) -> Fleet:
    """The same by `known` facts, or by cards that are looked at for it; where that gives none, by the `recorded` ones: while the cards of a
    node are unknown its instances stay as they are."""
    nodes = nodes_with_instances(fleet)
    if not nodes:
        return fleet
    seen = known
    if seen is None:
        from reconciler.engines import Transport
        from reconciler.probes import probe_fleet

        asked = nodes if options.part is None else [name for name in nodes if name in options.part]
        bare = Fleet(fleet.name, {name: replace(fleet.nodes[name], engines=()) for name in sorted(asked)})
        async with Transport() as transport:
            seen = await probe_fleet(bare, {}, transport=transport, at=clock.now())
        if options.elsewhere is not None:
            seen = replace(seen, nodes={**options.elsewhere.nodes, **seen.nodes})
    cards = {name: _cards(seen, name) if _cards(seen, name) is not None else _cards(recorded, name) for name in nodes}
    whole, unknown = with_instances(fleet, cards)
    for at in unknown:
        what = f"its cards are not known, so nobody can tell how many instances of {at.engine!r} it has: none is started"
        report(FileWarning(Problem(what, Place(at.node), "see gpurec doctor, or declare `gpus:` with their `vram`")))
    return whole


def _cards(facts: FleetFacts | None, node: str) -> Sequence[CardFacts] | None:
    seen = facts.nodes.get(node) if facts is not None else None
    return seen.cards if seen is not None else None


async def probe(fleet: Fleet, desired: Desired, applied: Applied, report: Reporter = ignore) -> FleetFacts:
    """The same for files that are read already, or for a fleet without desired state."""
    return await _probe(fleet, wanted_names(fleet, desired, applied), applied, None, report)


async def _probe(
    fleet: Fleet,
    wanted: Mapping[EngineId, Collection[str]],
    applied: Applied,
    recorded: FleetFacts | None,
    report: Reporter,
    activity: dict[tuple[EngineId, str], Activity] | None = None,
) -> FleetFacts:
    """Engines are not asked again about files that `recorded` facts tell of."""
    report(ProbingStarted(len(fleet.nodes)))
    try:
        from reconciler.engines import Transport, remembered
        from reconciler.probes import probe_fleet

        async with Transport(known=remembered(recorded) if recorded is not None else None, activity=activity) as transport:
            asked = await _where_they_answer(fleet, applied, transport)
            return await probe_fleet(asked, wanted, transport=transport, at=clock.now(), on_node=lambda node: report(NodeProbed(node)))
    finally:
        report(ProbingEnded())


async def _where_they_answer(fleet: Fleet, applied: Applied, transport: Transport) -> Fleet:
    """The fleet, in which an engine that the files give another address is asked where the last apply left it, until it is there."""
    from reconciler.probes import engines_reached

    urls = urls_left(fleet, applied)
    moving = [engine for at in {at.node for at in urls} for engine in fleet.nodes[at].engines if engine.id in urls]
    left = urls.keys() - await engines_reached(moving, transport)
    nodes = dict(fleet.nodes)
    for name in {at.node for at in left}:
        engines = tuple(replace(one, url=urls[one.id]) if one.id in left else one for one in nodes[name].engines)
        nodes[name] = replace(nodes[name], engines=engines)
    return replace(fleet, nodes=nodes) if left else fleet


def _known(settings: WorkspaceSettings, assume: Path | None, recorded: FleetFacts | None, fleet: Fleet) -> FleetFacts:
    recorded = as_recorded(recorded, fleet) if recorded is not None else None
    if assume is not None:
        path = settings.path(assume)
        assumed = facts_from_json(read_bounded_bytes(path, LARGEST_FACTS), str(path))
        return assumed if recorded is None else merge_facts(recorded, assumed)
    if recorded is None:
        raise GpurecError.of(
            "no facts are recorded yet, so --refresh never has nothing to go by",
            None,
            "run gpurec plan or apply once where the nodes can be reached, or use --assume FILE",
        )
    return recorded
