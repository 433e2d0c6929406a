"""The lease: who may write, proved again at every write.

One row. Taking it raises the fencing token; a writer whose token is no longer the row's can write nothing. A heartbeat keeps it fresh. A
holder on this boot and in this pid namespace is judged by its process: gone, it is replaced at once; there, stopped or not, never. Any
other is replaced when its heartbeat is not of the last `EXPIRY_SECONDS`, and nothing was written for as long: its clock may be another one
than ours, so where something was written it is watched whether its heartbeat moves.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from reconciler.fleet import LockHeld, Place, Problem
from reconciler.state.not_as_written import NotAsWritten
from reconciler.state.process import Process, ProcessTable, is_gone
from reconciler.value_class import value_class

EXPIRY_SECONDS = 30.0
HEARTBEAT_SECONDS = 5.0
_PASSWORD = re.compile(r"://[^/@\s]*@")


class Standing(StrEnum):
    """What can be said of a holder from here."""

    RUNNING = "running"
    """Its process is there: nobody takes its place."""
    GONE = "gone"
    """Its process is not there any more: replaced at once."""
    FRESH = "fresh"
    """Its process cannot be asked from here, and its heartbeat is young."""
    EXPIRED = "expired"
    """Its process cannot be asked from here, and its heartbeat is not of the last `EXPIRY_SECONDS`, before or after: replaced, unless it
    shows that it is alive."""

    @property
    def holds(self) -> bool:
        return self in (Standing.RUNNING, Standing.FRESH)


@value_class
class Lease:
    """A lease that is held. `since` and `heartbeat` are ISO 8601 UTC, `heartbeat_at` the same as seconds since 1970."""

    owner: str
    process: Process
    command: str
    since: str
    heartbeat: str
    heartbeat_at: float

    def sentence(self) -> str:
        """Who, where, when, what."""
        ci = f", {self.process.ci}" if self.process.ci else ""
        return (
            f"{self.process.who} on {self.process.host} (process {self.process.pid}{ci}) since {self.since}, "
            f"last heard of at {self.heartbeat}, running `{self.command}`"
        )

    def standing(self, me: Process, now: datetime, table: ProcessTable | None = None) -> Standing:
        """What the process `me` can say of this holder at `now`."""
        if self.process.seen_from(me):
            return Standing.GONE if is_gone(self.process, me, table) else Standing.RUNNING
        return Standing.EXPIRED if abs(self.age(now)) > EXPIRY_SECONDS else Standing.FRESH

    def taken_over(self, standing: Standing) -> str:
        """What is said of a lease that was replaced for how it stood."""
        why = "that process is gone" if standing is Standing.GONE else f"not heard of for more than {EXPIRY_SECONDS:.0f} s"
        return f"took over the lock of {self.sentence()}: {why}"

    def age(self, now: datetime) -> float:
        """Seconds since its heartbeat; less than 0 where the clock of its holder is ahead of ours."""
        return now.timestamp() - self.heartbeat_at


@value_class
class OwnLease:
    """Our own lease. `took_over` says whose was replaced."""

    owner: str
    token: int
    took_over: str | None


COLUMNS = ("owner", "who", "host", "boot", "pid", "process_started", "command", "since", "heartbeat", "heartbeat_at", "namespace", "ci")
"""Of the table `lease`, whose one row also has its id and the fencing token."""
LeaseRow = tuple[str, str, str, str | None, int, int | None, str, str, str, float, str | None, str | None]


def lease_row(lease: Lease) -> LeaseRow:
    one, command = lease.process, without_passwords(lease.command)
    place = (one.who, one.host, one.boot, one.pid, one.started)
    return (lease.owner, *place, command, lease.since, lease.heartbeat, lease.heartbeat_at, one.namespace, one.ci)


def lease_of(row: Sequence[Any]) -> Lease | None:
    """The lease of a row of COLUMNS; None where nobody holds it. Raises NotAsWritten where the row is not whole."""
    owner, who, host, boot, pid, started, command, since, heartbeat, heartbeat_at, namespace, ci = row
    if owner is None:
        return None
    if None in (who, host, pid, command, since, heartbeat, heartbeat_at):
        raise NotAsWritten("the row of the lock is not whole")
    return Lease(owner, Process(who, host, boot, pid, started, namespace, ci), command, since, heartbeat, heartbeat_at)


@value_class
class Lock:
    """A lease that somebody holds, and how it stands as seen from this process."""

    lease: Lease
    standing: Standing


def iso(moment: datetime) -> str:
    """`2026-01-01T00:00:00Z`, in UTC."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def refuse_if_held(held: Lease | None, where: Path | str, now: datetime, me: Process, table: ProcessTable | None = None) -> None:
    """Raises LockHeld when that lease stands as seen from `me`."""
    if held is not None and held.standing(me, now, table).holds:
        raise lock_held(held, where)


def lock_held(held: Lease, where: Path | str, more: str = "") -> LockHeld:
    """The refusal of a second run; `more` is a clause about the holder."""
    hint = "wait for that run to end, let this one wait with --lock-timeout 5m, or see gpurec lock status"
    return LockHeld(Problem(f"the state is locked by {held.sentence()}{more}", Place(str(where)), hint))


def without_passwords(command: str) -> str:
    """A command line as it may be stored: what stands before `@` in an URL is blotted out."""
    return _PASSWORD.sub("://***@", command)
