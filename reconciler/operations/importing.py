"""Import: desired state for what runs on the fleet."""

from __future__ import annotations

from contextlib import closing

from reconciler.fleet import Desired, FleetFacts
from reconciler.operations.observation import every_engine, probe, refuse_shared
from reconciler.operations.reporter import Reporter, ignore
from reconciler.operations.settings import WorkspaceSettings
from reconciler.operations.workspace import fleet_state, load_nodes, warn_of_access
from reconciler.planning import FleetAsFound, import_fleet
from reconciler.value_class import value_class
from reconciler.workspace import fleet_name


@value_class
class ImportedFleet:
    """`found` is the desired state of `fleet` as it ran when `facts` were probed."""

    fleet: str
    facts: FleetFacts
    found: FleetAsFound


async def import_running(settings: WorkspaceSettings, report: Reporter = ignore) -> ImportedFleet:
    """Probes the fleet of an inventory, which needs no desired state yet, and expresses what runs there as desired state."""
    name = fleet_name(settings.directory, settings.fleet, settings.inventory, (), with_desired=False)
    fleet, inventory = await load_nodes(settings, name)
    store = fleet_state(settings, fleet.name)
    warn_of_access(store, report)
    with closing(store.reader()) as state:
        applied = state.applied()
    fleet = await every_engine(fleet, report)
    facts = await probe(fleet, Desired(), applied, report)
    refuse_shared(fleet, facts, inventory)
    return ImportedFleet(fleet.name, facts, import_fleet(fleet, facts, applied, inventory.pattern_of))
