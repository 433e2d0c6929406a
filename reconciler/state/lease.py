"""The lease: who may write, proved again at every write.

One row. Taking it raises the fencing token; a writer whose token is no longer the row's can write nothing. A heartbeat keeps it fresh; a
holder of this boot that is gone is replaced at once, any other only when its heartbeat is older than `EXPIRY_SECONDS`.
"""

from __future__ import annotations

import re
import sqlite3
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

from reconciler.fleet import LockHeld
from reconciler.state.connection import BUSY_SECONDS
from reconciler.state.process import Process, is_gone, this_process

EXPIRY_SECONDS = 30.0
HEARTBEAT_SECONDS = 5.0
_PASSWORD = re.compile(r"://[^/@\s]*@")
_COLUMNS = "owner, who, host, boot, pid, process_started, command, since, heartbeat, heartbeat_at"


@dataclass(frozen=True, slots=True)
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
        return (
            f"{self.process.who} on {self.process.host} (process {self.process.pid}) since {self.since}, "
            f"last heard of at {self.heartbeat}, running `{self.command}`"
        )


@dataclass(frozen=True, slots=True)
class Held:
    """Our own lease. `took_over` says whose was replaced."""

    owner: str
    token: int
    took_over: str | None


def iso(moment: datetime) -> str:
    """`2026-01-01T00:00:00Z`, in UTC."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def read_lease(conn: sqlite3.Connection) -> Lease | None:
    """Who holds the lease; None when nobody does."""
    row = conn.execute(f"SELECT {_COLUMNS} FROM lease WHERE id = 1").fetchone()  # noqa: S608
    if row is None or row[0] is None:
        return None
    owner, who, host, boot, pid, started, command, since, heartbeat, heartbeat_at = row
    return Lease(owner, Process(who, host, boot, pid, started), command, since, heartbeat, heartbeat_at)


def take_lease(conn: sqlite3.Connection, path: Path, command: str, now: datetime, me: Process | None = None) -> Held:
    """Takes the lease in one transaction. Raises LockHeld when another run has it."""
    me = me or this_process()
    owner = str(uuid4())
    conn.execute("BEGIN IMMEDIATE")
    try:
        held = read_lease(conn)
        if held is not None and not is_gone(held.process, me.boot) and not _expired(held, me, now):
            raise LockHeld.of(
                f"the state is locked by {held.sentence()}",
                str(path),
                "wait for that run to end, or let this one wait with --lock-timeout 5m",
            )
        took_over = f"took over the lock of {held.sentence()}: {_why(held, me)}" if held is not None else None
        conn.execute(
            "UPDATE lease SET token = token + 1, owner = ?, who = ?, host = ?, boot = ?, pid = ?, process_started = ?, command = ?, "
            "since = ?, heartbeat = ?, heartbeat_at = ? WHERE id = 1",
            (owner, me.who, me.host, me.boot, me.pid, me.started, without_passwords(command), iso(now), iso(now), now.timestamp()),
        )
        (token,) = conn.execute("SELECT token FROM lease WHERE id = 1").fetchone()
        conn.execute("COMMIT")
    except BaseException:
        conn.execute("ROLLBACK")
        raise
    return Held(owner, token, took_over)


def _expired(held: Lease, me: Process, now: datetime) -> bool:
    """A process of this boot is asked itself (`is_gone`): while it is there, stopped or not, its lease stands."""
    if me.boot is not None and held.process.boot == me.boot:
        return False
    return now.timestamp() - held.heartbeat_at > EXPIRY_SECONDS


def _why(held: Lease, me: Process) -> str:
    return "that process is gone" if is_gone(held.process, me.boot) else f"not heard of for more than {EXPIRY_SECONDS:.0f} s"


def release_lease(conn: sqlite3.Connection, held: Held) -> None:
    """Gives the lease back; does nothing when somebody else has it by now. The token stays, so that it only ever rises."""
    conn.execute("UPDATE lease SET owner = NULL WHERE id = 1 AND owner = ? AND token = ?", (held.owner, held.token))


def still_ours(conn: sqlite3.Connection, held: Held) -> bool:
    """Whether the lease's row carries our owner and token; to be asked inside the transaction that writes."""
    row = conn.execute("SELECT owner, token FROM lease WHERE id = 1").fetchone()
    return bool(row == (held.owner, held.token))


def without_passwords(command: str) -> str:
    """A command line as it may be stored: what stands before `@` in an URL is blotted out."""
    return _PASSWORD.sub("://***@", command)


class Heartbeat:
    """A background thread with its own connection that says every few seconds that this run is alive."""

    def __init__(self, path: Path, held: Held, clock: Callable[[], datetime], every: float = HEARTBEAT_SECONDS) -> None:
        self._path, self._held, self._clock, self._every = path, held, clock, every
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lease-heartbeat", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def beat(self, conn: sqlite3.Connection) -> bool:
        """Writes one heartbeat; False when the lease is no longer ours."""
        now = self._clock()
        done = conn.execute(
            "UPDATE lease SET heartbeat = ?, heartbeat_at = ? WHERE id = 1 AND owner = ? AND token = ?",
            (iso(now), now.timestamp(), self._held.owner, self._held.token),
        )
        return done.rowcount == 1

    def _run(self) -> None:
        conn: sqlite3.Connection | None = None
        ours = True
        while ours and not self._stop.wait(self._every):
            try:
                if conn is None:
                    conn = sqlite3.connect(self._path, timeout=BUSY_SECONDS, isolation_level=None)
                ours = self.beat(conn)
            except sqlite3.Error:
                continue  # busy or out of disk: the next beat tries again, and the fencing token guards every write meanwhile
        if conn is not None:
            conn.close()
