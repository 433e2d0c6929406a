"""What both databases do alike with the one row of the lease: claim it, wait for it, keep it alive from a thread, give it back."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TypeVar
from uuid import uuid4

from reconciler.fleet import LockHeld
from reconciler.state.lease import COLUMNS, EXPIRY_SECONDS, Lease, OwnLease, iso, lease_row, lock_held, refuse_if_held
from reconciler.state.process import Process, ProcessTable
from reconciler.state.sql.connection import Connection

RETRY_SECONDS = 0.5
_SET = ", ".join(f"{column} = ?" for column in COLUMNS)
T = TypeVar("T")


def claim(
    conn: Connection,
    where: Path | str,
    command: str,
    held: Lease | None,
    now: datetime,
    me: Process,
    table: ProcessTable | None = None,
    watched: Lease | None = None,
    also: str = "",
) -> OwnLease:
    """Writes `me` into the row that says `held`, in the caller's transaction; `also` is set in the row beside it. `watched` is the lease of
    a holder that was found to be silent.

    Raises LockHeld when another run has it, or when the holder that was watched has been heard of since.
    """
    refuse_if_held(held, where, now, me, table)
    if held is not None and watched is not None and held.owner == watched.owner and held != watched:
        raise lock_held(held, where)
    took_over = held.taken_over(held.standing(me, now, table)) if held is not None else None
    owner = str(uuid4())
    row = lease_row(Lease(owner, me, command, iso(now), iso(now), now.timestamp()))
    conn.execute(f"UPDATE lease SET token = token + 1, {also}{_SET} WHERE id = 1", row)  # noqa: S608
    ((token,),) = conn.execute("SELECT token FROM lease WHERE id = 1").fetchall()
    return OwnLease(owner, token, took_over)


def break_lease(conn: Connection, owner: str) -> bool:
    """Takes the lease from `owner` and gives it to nobody: the token rises, so that the holder can write nothing any more.

    False when somebody else, or nobody, has it by now.
    """
    return conn.execute("UPDATE lease SET token = token + 1, owner = NULL WHERE id = 1 AND owner = ?", (owner,)).rowcount == 1


def release_lease(conn: Connection, held: OwnLease) -> None:
    """Gives the lease back; does nothing when somebody else has it by now. The token stays, so that it only ever rises."""
    conn.execute("UPDATE lease SET owner = NULL WHERE id = 1 AND owner = ? AND token = ?", (held.owner, held.token))


def when_free(take: Callable[[], T], lock_timeout: float, sleep: Callable[[float], None]) -> T:
    """What `take` gives, tried again for so many seconds while another run has the lease. Raises LockHeld after that."""
    waited = 0.0
    while True:
        try:
            return take()
        except LockHeld:
            if waited >= lock_timeout:
                raise
        pause = min(RETRY_SECONDS, lock_timeout - waited)
        sleep(pause)
        waited += pause


def unless_heard_of(
    lease: Lease, read: Callable[[], Lease | None], refusal: Callable[[Lease], LockHeld], sleep: Callable[[float], None]
) -> Lease | None:
    """The lease of a holder that was not heard of for as long as one lasts, by how long it was watched and not by any clock; None where
    another has it by then. Raises `refusal` of it as soon as its heartbeat moves."""
    watched = 0.0
    while watched < EXPIRY_SECONDS:
        sleep(RETRY_SECONDS)
        watched += RETRY_SECONDS
        now = read()
        if now is not None and now.owner == lease.owner and now.heartbeat_at != lease.heartbeat_at:
            raise refusal(now)
        if now != lease:
            return None
    return lease


class Beating(ABC):
    """A background thread with its own connection that says every few seconds that a run is alive, whatever the run itself is at."""

    def __init__(self, every: float) -> None:
        self._every = every
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lease-heartbeat", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            while not self._stop.wait(self._every) and self._goes_on():
                pass
        finally:
            self._end()

    @abstractmethod
    def _goes_on(self) -> bool:
        """Says it once; False when the lease is no longer its own. What goes wrong is left to the next beat: the fencing token guards every
        write meanwhile."""

    @abstractmethod
    def _end(self) -> None:
        """Closes its connection."""
