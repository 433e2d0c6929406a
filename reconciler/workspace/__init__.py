"""Files to values: the inventory and the desired state of a fleet, with a position for everything that is wrong."""

from __future__ import annotations

from reconciler.workspace.allocated import NameTaken, UnknownType, as_declared, check_allocation, names_of_files, with_allocated
from reconciler.workspace.catalogue import load_catalogue
from reconciler.workspace.inventory import Inventory, InventoryHost
from reconciler.workspace.load import Workspace, find_state_path, load_fleet, load_inventory, load_workspace, state_path_of
from reconciler.workspace.places import place_of, wanted_place
from reconciler.workspace.schema import json_schema
from reconciler.workspace.selection import DESIRED, STATE, cluster_of, fleet_name, fleets, has_desired, inventory_name

__all__ = [
    "DESIRED",
    "STATE",
    "Inventory",
    "InventoryHost",
    "NameTaken",
    "UnknownType",
    "Workspace",
    "as_declared",
    "check_allocation",
    "cluster_of",
    "find_state_path",
    "fleet_name",
    "fleets",
    "has_desired",
    "inventory_name",
    "json_schema",
    "load_catalogue",
    "load_fleet",
    "load_inventory",
    "load_workspace",
    "names_of_files",
    "place_of",
    "state_path_of",
    "wanted_place",
    "with_allocated",
]
