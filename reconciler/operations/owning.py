"""Import of engines: how those that run in somebody's containers are declared as gpurec's own."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from reconciler.fleet import (
    NOTHING_APPLIED,
    ContainerFacts,
    ContainersLookedFor,
    Desired,
    EngineSpec,
    FleetFacts,
    NodeSpec,
    Owner,
    WatchedEnv,
)
from reconciler.operations.observation import probe
from reconciler.operations.reporter import Reporter, ignore
from reconciler.operations.settings import WorkspaceSettings
from reconciler.operations.workspace import load, load_nodes
from reconciler.planning import LeftOut
from reconciler.planning.kinds.engine.kind import own_cards
from reconciler.planning.kinds.engine.owning import Adoptable, as_owned, is_plain, serves
from reconciler.value_class import value_class
from reconciler.workspace import has_desired

_REFERABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@value_class
class OwnedNode:
    """A host with engines that can be owned, by name. `variables` are its variables as the inventory has them, before templating."""

    name: str
    engines: Mapping[str, Adoptable]
    variables: Mapping[str, object]


@value_class
class OwnedFleet:
    fleet: str
    at: str
    nodes: tuple[OwnedNode, ...]
    left_out: tuple[LeftOut, ...]


async def import_owned(settings: WorkspaceSettings, report: Reporter = ignore) -> OwnedFleet:
    """Looks at the containers behind the engines of an inventory, and changes nothing. Raises GpurecError for files that cannot be read."""
    if has_desired(settings.directory, settings.fleet, settings.inventory, settings.desired):
        workspace = await load(settings, report)
        fleet, inventory, desired = workspace.fleet, workspace.inventory, workspace.desired
    else:
        (fleet, inventory), desired = await load_nodes(settings), Desired()
    facts = await probe(fleet, Desired(), NOTHING_APPLIED, report)
    nodes, left_out = [], []
    for node in fleet.nodes.values():
        external = [engine for engine in node.engines if engine.owned is None]
        if not external:
            continue
        found, why = await _of_node(fleet.name, node, external, facts, desired)
        left_out += [LeftOut(f"engine {name} of {node.name}", reason) for name, reason in sorted(why.items())]
        if found:
            nodes.append(OwnedNode(node.name, found, inventory.variables(node.name)))
    return OwnedFleet(fleet.name, facts.at, tuple(nodes), tuple(left_out))


async def _of_node(
    fleet: str, node: NodeSpec, engines: Sequence[EngineSpec], facts: FleetFacts, desired: Desired
) -> tuple[Mapping[str, Adoptable], Mapping[str, str]]:
    """The engines that can be owned, and of the others why not."""
    if node.docker is None:
        return {}, {engine.id.engine: "its host has no `docker`, so nobody can tell its container" for engine in engines}
    if node.docker.swarm:
        return {}, {engine.id.engine: "services of a swarm are not adopted" for engine in engines}
    found: dict[str, Adoptable] = {}
    why: dict[str, str] = {}
    containers = await _containers(fleet, node, engines)
    for engine in engines:
        if isinstance(containers, str):
            why[engine.id.engine] = containers
            continue
        behind = [one for one in containers if serves(one, engine)]
        cards = own_cards(facts, engine)
        if len(behind) != 1:
            names = ", ".join(sorted(one.name for one in behind))
            why[engine.id.engine] = f"several containers may be it: {names}" if behind else f"no container is behind {engine.url}"
        elif cards is None:
            why[engine.id.engine] = "the cards of its node are not known; declare `gpus`"
        elif strange := [name for name in behind[0].variables if _REFERABLE.fullmatch(name) is None]:
            why[engine.id.engine] = f"its variable {strange[0]} cannot be written"
        elif isinstance(one := as_owned(fleet, node, engine, behind[0], cards, desired), str):
            why[engine.id.engine] = f"container {behind[0].name}: {one}"
        else:
            found[engine.id.engine] = one
    return found, why


async def _containers(fleet: str, node: NodeSpec, engines: Sequence[EngineSpec]) -> list[ContainerFacts] | str:
    """The running containers of others that may be behind one of the engines, or why they are unknown. Of their variables only those are
    read that may be written to a file."""
    from urllib.parse import urlsplit

    from reconciler.containers import ContainerError, open_container_host

    assert node.docker is not None
    ports = frozenset(port for engine in engines if (port := urlsplit(engine.url).port) is not None)
    host = None
    try:
        host = open_container_host(node, node.docker)
        there = await host.observe(ContainersLookedFor(fleet, ports=ports, on_host=True))
        if there.containers is None:
            return there.reason or "its daemon could not be asked"
        found = []
        for stranger in there.containers:
            if stranger.owner is not Owner.FOREIGN:
                continue
            named = await host.inspect(stranger.id, WatchedEnv(), fleet)
            watched = WatchedEnv(frozenset(name for name in named.variables if is_plain(name)) if named is not None else frozenset())
            if (one := await host.inspect(stranger.id, watched, fleet)) is not None and one.condition == "running":
                found.append(one)
        return found
    except ContainerError as error:
        return error.problems[0].sentence()
    finally:
        if host is not None:
            await host.aclose()
