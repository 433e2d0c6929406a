"""Opening a store for writing: the wait for the lease, what is said of the log of a run that died, and the end of the block."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from reconciler.fleet import LockHeld, format_duration
from reconciler.state.lease import EXPIRY_SECONDS, Lease, OwnLease, Standing, iso, lock_held, refuse_if_held
from reconciler.state.process import this_process
from reconciler.state.sql.connection import Replaced, Unwritable
from reconciler.state.sql.fleet_name import refuse_other_fleet
from reconciler.state.sql.lease import release_lease, unless_heard_of, when_free
from reconciler.state.sql.rescue import kept_apart
from reconciler.state.sqlite.connection import followed, open_for_reading, open_for_writing, sqlite_said
from reconciler.state.sqlite.lease import Heartbeat, read_lease, take_lease
from reconciler.state.sqlite.log import Log, last_written, look_at_log
from reconciler.state.sqlite.reader import open_reader
from reconciler.state.sqlite.schema import migrate, schema_version
from reconciler.state.sqlite.writer import SqliteWriter


def _now() -> datetime:
    return datetime.now(UTC)


@contextmanager
def open_writer(
    path: Path,
    *,
    command: str,
    fleet: str | None = None,
    new_folder: bool = False,
    clock: Callable[[], datetime] = _now,
    lock_timeout: float = 0,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[SqliteWriter]:
    """Takes the lease of a store, creating it where missing, and gives it back at the end of the block.

    `command` is told to whoever finds the state locked. `fleet` is the one that this is about: a store that does not say whose it is, is
    its own from the first run on. Waits up to `lock_timeout` seconds for another run's lease, then raises LockHeld; raises StateError when
    the store cannot be written, is of another fleet, or where its folder does not exist and `new_folder` does not ask for one.
    """
    path = followed(path)

    def take() -> tuple[sqlite3.Connection, OwnLease, bool]:
        watched = _watch(path, clock, sleep)
        return _take(path, command, fleet, new_folder, clock(), watched)

    conn, held, new = when_free(take, lock_timeout, sleep)
    try:
        heartbeat = Heartbeat(path, held, clock)
        heartbeat.start()
        writer = SqliteWriter(path, conn, held, clock, fleet=fleet, new=new)
        try:
            yield writer
        except Exception as error:
            if writer.rescue is not None:
                raise kept_apart(writer.rescue, writer.unwritable, error) from error
            raise
        finally:
            heartbeat.stop()
            with suppress(Unwritable), sqlite_said(path):  # a lock that stays is taken over: this process will be gone
                try:
                    writer.check_file()
                except Replaced:
                    writer.own_file.set_aside()
                    raise
                release_lease(conn, held)
    finally:
        conn.close()
    if writer.rescue is not None:
        raise kept_apart(writer.rescue, writer.unwritable, None)


def _watch(path: Path, clock: Callable[[], datetime], sleep: Callable[[float], None]) -> Lease | None:
    """The lease of a holder that may be dead: its heartbeat is not of these seconds, and its process cannot be asked from here.

    That may be for its clock. Where nobody has written to the state for as long as a lease lasts, by the clock of its file system, the
    holder is dead; else it is watched for so long. Raises LockHeld as soon as its heartbeat moves.
    """
    silent, lease = time.time() - last_written(path) > EXPIRY_SECONDS, _lease(path)
    if lease is None or silent or lease.standing(this_process(), clock()) is not Standing.EXPIRED:
        return lease

    def refusal(now: Lease) -> LockHeld:
        age = now.age(clock())
        return lock_held(now, path, f", by a clock that is {format_duration(abs(age))} {'behind' if age > 0 else 'ahead of'} this one")

    return unless_heard_of(lease, lambda: _lease(path), refusal, sleep)


def _lease(path: Path) -> Lease | None:
    with closing(open_reader(path)) as state:
        return state.lease()


def _take(
    path: Path, command: str, fleet: str | None, new_folder: bool, now: datetime, watched: Lease | None
) -> tuple[sqlite3.Connection, OwnLease, bool]:
    """A connection with the lease, and whether the store is a new one.

    First a look that cannot write: closing a connection that could would fold away the log of a run that died, and with it what tells
    whether that log was whole. For the same reason nothing older is migrated while a run holds it.
    """
    if path.is_file() and path.stat().st_size:
        with closing(open_for_reading(path)) as reading, sqlite_said(path):
            if schema_version(reading, path):
                refuse_other_fleet(reading, str(path), fleet)
                refuse_if_held(read_lease(reading), path, now, this_process())
    log = look_at_log(path)
    conn = open_for_writing(path, new_folder)
    try:
        with sqlite_said(path):
            new = schema_version(conn, path) == 0
            migrate(conn, path, iso(now))
            held = take_lease(conn, path, command, now, watched=watched)
            # From here on the file itself says that a run is on, while its log is not empty: one that is missing later was taken away.
            conn.execute("PRAGMA wal_checkpoint(PASSIVE)")
    except BaseException:
        conn.close()
        raise
    if held.took_over is not None and (lost := _lost(log)):
        held = replace(held, took_over=f"{held.took_over}; {lost}: the plan finds out by probing what was done")
    return conn, held, new


def _lost(log: Log) -> str | None:
    if log.missing:
        return f"its log {log.path.name} is gone, and with it what that run wrote last"
    if log.unreadable:
        return f"its log {log.path.name} cannot be read, so what that run wrote last is lost"
    return f"its log {log.path.name} was torn, so what it wrote very last does not count" if log.cut else None
