"""The lease: who may write, proved again at every write.

One row. Taking it raises the fencing token; a writer whose token is no longer the row's can write nothing. A heartbeat keeps it fresh. A
holder on this boot and in this pid namespace is judged by its process: gone, it is replaced at once; there, stopped or not, never. Any
other is replaced when its heartbeat is not of the last `EXPIRY_SECONDS`, and nothing was written for as long: its clock may be another one
than ours, so where something was written it is watched whether its heartbeat moves.
"""

from __future__ import annotations

import re
import sqlite3
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from uuid import uuid4

from reconciler.fleet import LockHeld, Place, Problem
from reconciler.state.connection import BUSY_SECONDS, existing, file_id
from reconciler.state.process import Process, ProcessTable, is_gone, this_process

EXPIRY_SECONDS = 30.0
HEARTBEAT_SECONDS = 5.0
_PASSWORD = re.compile(r"://[^/@\s]*@")
_COLUMNS = ("owner", "who", "host", "boot", "pid", "process_started", "command", "since", "heartbeat", "heartbeat_at", "namespace", "ci")
_SET = ", ".join(f"{column} = ?" for column in _COLUMNS)


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

    def age(self, now: datetime) -> float:
        """Seconds since its heartbeat; less than 0 where the clock of its holder is ahead of ours."""
        return now.timestamp() - self.heartbeat_at


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
    """Who holds the lease; None when nobody does. Reads the lease of an older schema too, with what that does not know as None."""
    there = {str(column[1]) for column in conn.execute("PRAGMA table_info(lease)")}
    columns = ", ".join(column if column in there else "NULL" for column in _COLUMNS)
    row = conn.execute(f"SELECT {columns} FROM lease WHERE id = 1").fetchone()  # noqa: S608
    if row is None:
        raise ValueError("the row of the lock is gone")
    if row[0] is None:
        return None
    owner, who, host, boot, pid, started, command, since, heartbeat, heartbeat_at, namespace, ci = row
    if None in (who, host, pid, command, since, heartbeat, heartbeat_at):
        raise ValueError("the row of the lock is not whole")
    return Lease(owner, Process(who, host, boot, pid, started, namespace, ci), command, since, heartbeat, heartbeat_at)


def refuse_if_held(held: Lease | None, path: Path, now: datetime, me: Process, table: ProcessTable | None = None) -> None:
    """Raises LockHeld when that lease stands as seen from `me`."""
    if held is not None and held.standing(me, now, table).holds:
        raise lock_held(held, path)


def lock_held(held: Lease, path: Path, more: str = "") -> LockHeld:
    """The refusal of a second run; `more` is a clause about the holder."""
    hint = "wait for that run to end, let this one wait with --lock-timeout 5m, or see gpurec lock status"
    return LockHeld(Problem(f"the state is locked by {held.sentence()}{more}", Place(str(path)), hint))


def take_lease(
    conn: sqlite3.Connection,
    path: Path,
    command: str,
    now: datetime,
    me: Process | None = None,
    table: ProcessTable | None = None,
    watched: Lease | None = None,
) -> Held:
    """Takes the lease in one transaction. `me` and `table` stand for this process and the processes of this machine, `watched` is the lease
    of a holder that was found to be silent.

    Raises LockHeld when another run has it, or when the holder that was watched has been heard of since.
    """
    me = me or this_process()
    owner = str(uuid4())
    conn.execute("BEGIN IMMEDIATE")
    try:
        held = read_lease(conn)
        refuse_if_held(held, path, now, me, table)
        if held is not None and watched is not None and held.owner == watched.owner and held != watched:
            raise lock_held(held, path)
        took_over = f"took over the lock of {held.sentence()}: {_why(held.standing(me, now, table))}" if held is not None else None
        row = (owner, me.who, me.host, me.boot, me.pid, me.started, without_passwords(command), iso(now), iso(now), now.timestamp())
        conn.execute(f"UPDATE lease SET token = token + 1, {_SET} WHERE id = 1", (*row, me.namespace, me.ci))  # noqa: S608
        (token,) = conn.execute("SELECT token FROM lease WHERE id = 1").fetchone()
        conn.execute("COMMIT")
    except BaseException:
        if conn.in_transaction:
            conn.execute("ROLLBACK")
        raise
    return Held(owner, token, took_over)


def _why(standing: Standing) -> str:
    return "that process is gone" if standing is Standing.GONE else f"not heard of for more than {EXPIRY_SECONDS:.0f} s"


def break_lease(conn: sqlite3.Connection, owner: str) -> bool:
    """Takes the lease from `owner` and gives it to nobody: the token rises, so that the holder can write nothing any more.

    False when somebody else, or nobody, has it by now.
    """
    return conn.execute("UPDATE lease SET token = token + 1, owner = NULL WHERE id = 1 AND owner = ?", (owner,)).rowcount == 1


def release_lease(conn: sqlite3.Connection, held: Held) -> None:
    """Gives the lease back; does nothing when somebody else has it by now. The token stays, so that it only ever rises."""
    conn.execute("UPDATE lease SET owner = NULL WHERE id = 1 AND owner = ? AND token = ?", (held.owner, held.token))


def beat(conn: sqlite3.Connection, held: Held, now: datetime) -> bool:
    """Says that the holder is alive; False when the lease is no longer its own."""
    done = conn.execute(
        "UPDATE lease SET heartbeat = ?, heartbeat_at = ? WHERE id = 1 AND owner = ? AND token = ?",
        (iso(now), now.timestamp(), held.owner, held.token),
    )
    return done.rowcount == 1


def still_ours(conn: sqlite3.Connection, held: Held) -> bool:
    """Whether the lease's row carries our owner and token; to be asked inside the transaction that writes."""
    row = conn.execute("SELECT owner, token FROM lease WHERE id = 1").fetchone()
    return bool(row == (held.owner, held.token))


def without_passwords(command: str) -> str:
    """A command line as it may be stored: what stands before `@` in an URL is blotted out."""
    return _PASSWORD.sub("://***@", command)


class Heartbeat:
    """A background thread with its own connection that says every few seconds that this run is alive, whatever the run itself is at."""

    def __init__(self, path: Path, held: Held, clock: Callable[[], datetime], every: float = HEARTBEAT_SECONDS) -> None:
        self._path, self._held, self._clock, self._every = path, held, clock, every
        self._file = file_id(path)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lease-heartbeat", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def beat(self, conn: sqlite3.Connection) -> bool:
        """Writes one heartbeat; False when the lease is no longer ours."""
        return beat(conn, self._held, self._clock())

    def _run(self) -> None:
        conn: sqlite3.Connection | None = None
        ours = True
        while ours and not self._stop.wait(self._every):
            try:
                if file_id(self._path) != self._file:
                    break  # another file is there by now, which is none of ours
                if conn is None:
                    conn = sqlite3.connect(existing(self._path), uri=True, timeout=BUSY_SECONDS, isolation_level=None)
                    conn.execute("PRAGMA wal_autocheckpoint = 0")  # one connection checkpoints, the writer's
                ours = self.beat(conn)
            except sqlite3.Error:
                continue  # busy or out of disk: the next beat tries again, and the fencing token guards every write meanwhile
        if conn is not None:
            conn.close()
