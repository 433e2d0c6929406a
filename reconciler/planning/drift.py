"""Drift: what was last applied, field by field, against what probing found. A field whose fact is unknown is never drift."""

from __future__ import annotations

from collections.abc import Mapping

from reconciler.fleet import Applied, AppliedReplica, Desired, Resident, ResidentStatus, Unmanaged, replica_address
from reconciler.placement import Board, Placement, Slot
from reconciler.planning.plan import Drift


def find_drift(board: Board, applied: Applied, desired: Desired) -> tuple[Drift, ...]:
    """Every managed field of every applied replica that is not as it was, on engines that can be asked; in address order."""
    least = {model.name: model.min_gpu_fraction for model in desired.models}
    by_name: dict[Slot, Mapping[str, Resident]] = {}
    found: list[Drift] = []
    for address, row in sorted(applied.replicas.items()):
        slot = board.slots.get(row.at)
        if slot is None or not slot.reachable or not slot.selected or row.ensure != "loaded":
            continue
        if slot.facts is None or slot.facts.residents is None:
            continue
        if slot not in by_name:
            by_name[slot] = {resident.name: resident for resident in slot.facts.residents}
        resident = by_name[slot].get(row.engine_name) or _by_weights(slot, row)
        if resident is None:
            found.append(Drift(address, "missing", "resident", True, False))
        elif resident.status is not ResidentStatus.LOADING:
            found.extend(_fields(address, row, resident, least.get(row.model, 1.0)))
    return tuple(found)


def _fields(address: str, row: AppliedReplica, resident: Resident, least: float) -> list[Drift]:
    drift = []
    fraction = resident.gpu_fraction
    before = row.observed_gpu_fraction
    if row.residency == "gpu" and fraction is not None and before is not None and fraction < min(before, least):
        drift.append(Drift(address, "cpu_fallback", "gpu_fraction", before, round(fraction, 4)))
    if row.observed_context is not None and resident.context is not None and row.observed_context != resident.context:
        drift.append(Drift(address, "context", "context", row.observed_context, resident.context))
    if row.observed_pinned and resident.pinned is False:
        drift.append(Drift(address, "keep_alive", "pinned", True, False))
    return drift


def _by_weights(slot: Slot, row: AppliedReplica) -> Resident | None:
    installed = slot.installed(row.engine_name)
    if installed is None or installed.blob is None or slot.facts is None:
        return None
    return next((resident for resident in slot.facts.residents or () if resident.blob == installed.blob), None)


def unmanaged_drift(placement: Placement, desired: Desired) -> tuple[Drift, ...]:
    """Residents that nobody here asked for, where the policy calls that drift."""
    if desired.policy.unmanaged not in (Unmanaged.DRIFT, Unmanaged.UNLOAD):
        return ()
    return tuple(
        Drift(replica_address(found.resident.name, found.slot.id), "unmanaged", "resident", None, True)
        for found in placement.unwanted
        if found.owned is None and found.model is None and found.slot.selected
    )
