"""A file of another tool, written as the files of a new fleet."""

from __future__ import annotations

from pathlib import Path

from reconciler.conversion import Converted, convert
from reconciler.conversion.formats import MOST_BYTES
from reconciler.files import read_bounded
from reconciler.fleet import GpurecError
from reconciler.operations.new_files import schema_file, schema_line, write_missing
from reconciler.operations.settings import WorkspaceSettings
from reconciler.value_class import value_class
from reconciler.workspace import DESIRED, fleet_name
from reconciler.workspace.selection import DEFAULT_FLEET, INVENTORIES


@value_class
class WrittenFleet:
    """The files that were written, relative to the workspace, and what is in them."""

    fleet: str
    inventory: str
    desired: str
    found: Converted


def convert_file(settings: WorkspaceSettings, source: Path, form: str | None = None) -> WrittenFleet:
    """Writes the inventory and the desired state of the fleet that is named (else `default`) from a file in a format of
    `conversion.FORMATS`. Raises GpurecError where it cannot be read, or where the fleet has either of them already: then neither is
    written."""
    fleet = fleet_name(settings.directory, settings.fleet or DEFAULT_FLEET, (), ())
    for folder in (INVENTORIES, DESIRED):
        there = next((name for name in (fleet + ".yaml", fleet + ".yml", fleet) if settings.path(Path(folder) / name).exists()), None)
        if there is not None:
            raise GpurecError.of(
                "this is there already, and nothing is overwritten", f"{folder}/{there}", "name a new fleet with --fleet NAME"
            )
    found = convert(read_bounded(settings.path(source), MOST_BYTES), str(source), form)
    inventory, desired = f"{INVENTORIES}/{fleet}.yaml", f"{DESIRED}/{fleet}.yaml"
    texts = {
        inventory: schema_line(Path(inventory), "inventory") + found.inventory,
        desired: schema_line(Path(desired), "desired") + found.desired,
    }
    files = {**texts, **dict(schema_file(name) for name in ("inventory", "desired"))}
    write_missing(settings.directory, files, settings.workspace_only())
    return WrittenFleet(fleet, inventory, desired, found)
