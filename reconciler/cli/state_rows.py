"""What the store says, as values for the views and as JSON documents."""

from __future__ import annotations

from pathlib import Path

from reconciler.state import Lock
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


def lock_document(path: Path, lock: Lock | None) -> dict[str, object]:
    """`held` false: an apply gets the lock at once, from nobody or from a holder that is gone or expired."""
    lease = lock.lease if lock is not None else None
    return {
        "state": str(path),
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
