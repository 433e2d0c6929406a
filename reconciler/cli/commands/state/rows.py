"""What the store says, as values for the views and as JSON documents."""

from __future__ import annotations

from reconciler.fleet import AppliedReplica, AppliedResource, parse_resource_address
from reconciler.state import Lock, Store
from reconciler.views.state_text import LockRow


def lock_row(lock: Lock | None) -> LockRow | None:
    if lock is None:
        return None
    lease, process = lock.lease, lock.lease.process
    return LockRow(
        who=process.who,
        host=process.host,
        pid=process.pid,
        ci=process.ci,
        command=lease.command,
        since=lease.since,
        heartbeat=lease.heartbeat,
        standing=lock.standing.value,
        holds=lock.standing.holds,
    )


def lock_document(store: Store, lock: Lock | None) -> dict[str, object]:
    """`held` false: an apply gets the lock at once, from nobody or from a holder that is gone or expired."""
    lease = lock.lease if lock is not None else None
    return {
        "state": str(store),
        "held": lock is not None and lock.standing.holds,
        "standing": lock.standing.value if lock is not None else "free",
        "lease": None
        if lease is None
        else {
            "owner": lease.owner,
            "who": lease.process.who,
            "host": lease.process.host,
            "boot_id": lease.process.boot,
            "pid_namespace": lease.process.namespace,
            "pid": lease.process.pid,
            "process_started": lease.process.started,
            "ci": lease.process.ci,
            "command": lease.command,
            "since": lease.since,
            "heartbeat": lease.heartbeat,
        },
    }


def owned_row(one: AppliedReplica | AppliedResource) -> dict[str, str | int]:
    """What the list of all that is owned says of one."""
    if isinstance(one, AppliedResource):
        return {"address": one.address, "node": parse_resource_address(one.address)[2], "serial": one.serial}
    return {"address": one.address, "model": one.model, "node": one.at.node, "engine": one.at.engine, "serial": one.serial}


def owned_document(one: AppliedReplica | AppliedResource) -> dict[str, str | int | float | bool | None]:
    """All that is held of one; unknown is null. Of a file that is what it was to be like, not its text."""
    if isinstance(one, AppliedReplica):
        return replica_document(one)
    return {**owned_row(one), **{name: value for name, value in one.fields.items() if not name.startswith("_")}, "serial": one.serial}


def replica_document(replica: AppliedReplica) -> dict[str, str | int | float | bool | None]:
    """One owned replica with every field; options are flat, as `options.NAME`, and so is what its load was charged with, as
    `charged_bytes.CARD`. Unknown is null."""
    return {
        "address": replica.address,
        "model": replica.model,
        "node": replica.at.node,
        "engine": replica.at.engine,
        "engine_name": replica.engine_name,
        "ensure": replica.ensure,
        "context": replica.context,
        "keep_alive": replica.keep_alive,
        "residency": replica.residency,
        "protect": replica.protect,
        **{f"options.{name}": value for name, value in sorted(replica.options.items())},
        "observed_context": replica.observed_context,
        "observed_gpu_fraction": replica.observed_gpu_fraction,
        "observed_pinned": replica.observed_pinned,
        "vram_bytes": replica.vram_bytes,
        **{f"charged_bytes.{'ram' if card == -1 else card}": count for card, count in replica.charges or ()},
        "serial": replica.serial,
    }
